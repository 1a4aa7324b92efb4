"""One manifest format a file; each gives blocks of raw rows and finds a shard again without reading the rest."""
