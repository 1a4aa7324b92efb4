"""Data sets with media as bytes, for tests."""

import json

import pyarrow as pa

MEDIA = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FEATURES = {"face": {"_type": "Image"}, "speech": {"_type": "Audio"}, "n": {"dtype": "int64", "_type": "Value"}}


def hub_metadata(features):
    return {"huggingface": json.dumps({"info": {"features": features}})}


def media_table(n, *, start=0, image="image", audio="audio"):
    """Return rows as `datasets` stores them, with pictures and sounds of a few bytes."""
    numbers = range(start, start + n)
    return pa.table(
        {
            image: pa.array([{"bytes": b"picture %d" % i, "path": f"{i}.png"} for i in numbers], MEDIA),
            audio: pa.array([{"bytes": b"sound %d" % i, "path": None} for i in numbers], MEDIA),
            "n": [*numbers],
        }
    )
