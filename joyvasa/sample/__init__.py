"""The built-in model: its networks, its training, and its measurement."""
