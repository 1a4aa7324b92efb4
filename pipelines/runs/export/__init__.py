"""Export of finished videos as a data set: one module per format, `export.py` is the entry point."""
