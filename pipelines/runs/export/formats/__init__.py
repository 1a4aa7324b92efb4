"""Formats of exported data sets, one module per format; `writer.py` defines the interface."""
