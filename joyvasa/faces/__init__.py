"""Finding faces, cutting them out, and pasting them back."""
