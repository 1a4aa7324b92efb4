"""`joyvasa bench`: measure how fast this machine is.

The JSON that it writes is `pipelines.bench.document.Document`; every field is described where its dataclass is.
"""

SECTIONS = ("networks", "chain", "engine", "scaling", "encoding")
