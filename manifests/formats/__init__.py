"""Readers of manifest formats, one module per format."""
