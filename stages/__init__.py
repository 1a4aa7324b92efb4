"""The units of work that a pipeline joins. Knows `joyvasa` and `manifests`, never Ray."""
