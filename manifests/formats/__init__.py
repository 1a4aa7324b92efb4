"""Readers of manifest formats, one format a file; each streams blocks of raw rows."""
