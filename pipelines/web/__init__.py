"""`joyvasa web`: a page to try one pair on, and to look at runs."""
