"""`joyvasa bench`: measure how fast this machine is.

`pipelines.bench.bench.Document` describes the JSON result.
"""

SECTIONS = ("networks", "chain", "engine", "simulation", "scaling", "encoding")
