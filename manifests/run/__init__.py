"""The folder of a run: its description, its shards, and the outcome of every record."""
