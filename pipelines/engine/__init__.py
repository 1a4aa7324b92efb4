"""The loop that drives records through stages on workers, and recovers when workers fail."""
