"""Run folders: the description of a run, its shards, and the outcome of every record."""
