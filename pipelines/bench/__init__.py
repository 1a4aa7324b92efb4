"""`joyvasa bench`: how fast this machine is, measured, and how much faster than the plain way.

The JSON that it writes is `pipelines.bench.document.Document`; every field is described where its dataclass is.
"""

SECTIONS = ("networks", "chain", "engine", "scaling", "gains", "encoding")
