"""Reading, decoding and encoding of sound, pictures and videos, and their provenance."""
