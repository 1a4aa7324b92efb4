"""Parquet files whose footer contradicts itself, for tests."""

from pathlib import Path

import pyarrow.parquet as pq

# Type of a column chunk, then a list: its encodings.
BYTES_CHUNK, INT32_CHUNK, INT64_CHUNK = b"\x15\x0c\x19", b"\x15\x02\x19", b"\x15\x04\x19"


def contradict_footer(path):
    """Make chunks of text, bytes and integers in a Parquet file claim to hold other integers, which its schema denies.

    Arrow ends the process if it is asked for the metadata of such a chunk.
    """
    content = Path(path).read_bytes()
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    footer = content[start:]
    assert BYTES_CHUNK in footer
    footer = footer.replace(INT32_CHUNK, INT64_CHUNK).replace(BYTES_CHUNK, INT32_CHUNK)
    Path(path).write_bytes(content[:start] + footer)
    assert pq.read_metadata(path).num_row_groups
