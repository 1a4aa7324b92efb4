"""`joyvasa web`: a page to try one pair and to browse runs."""
