"""The built-in model: its networks, training and measurement."""
