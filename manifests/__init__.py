"""Tables that go in and come out. Knows no other room."""
