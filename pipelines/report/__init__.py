"""Reports on runs: a page that a person reads and tables that a script parses."""
