"""What makes a record itself: its id, its seed, its file name, and the hash of its content.

Every rule here depends on the row alone, never on its place in the manifest, so nothing changes
when a manifest is sorted, split or planned again.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Literal

from manifests.errors import ManifestError

DERIVED_ID_BYTES = 12  # 96 bits: two of 10^9 rows meet with a chance of 1 in 10^11
SAFE_ID_CHARACTERS = 100  # leaves room for suffixes below the 255 bytes of common file systems
SLUG_CHARACTERS = 48
HASH_CHARACTERS = 16  # hexadecimal; 64 bits

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_SAFE_ID = re.compile(rf"[a-z0-9_](?:[a-z0-9_.-]{{0,{SAFE_ID_CHARACTERS - 2}}}[a-z0-9_-])?")
_WINDOWS_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?")
_UNSAFE_RUN = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One row of a manifest, from the scan through all stages: checked values, media as absolute paths or URIs.

    Attributes:
        id: unique within the run.
        image, audio, motion: portrait, sound, and motion file or None.
        video: finished video, from any program.
        mode: `human` or `animal`.
        given_seed: seed that the row states.
        cfg_scale: strength of guidance that the row states.
        priority: higher is admitted earlier.
        row: number of the row in its manifest, see `Problem.row`.
        seed: seed of the record's own random generator, so that batch make-up, order and retries change no result; 0
            until a run sets it.
        shard: number of its shard in the run.
    """

    id: str
    image: str | None = None
    audio: str | None = None
    motion: str | None = None
    video: str | None = None
    mode: str = "human"
    given_seed: int | None = None
    cfg_scale: float | None = None
    priority: int = 0
    row: int = 0
    seed: int = 0
    shard: int = 0

    def require(self, column: Literal["image", "audio", "motion", "video"]) -> str:
        """Return a location that the row must have.

        Raises:
            ManifestError: `missing_value`.
        """
        location = getattr(self, column)
        if location is None:
            raise ManifestError("missing_value", f"record {self.id}: {column} is empty; expected a path or URI")
        return location


def content_text(
    image: str | None,
    audio: str | None,
    motion: str | None,
    mode: str,
    seed: int | None,
    cfg_scale: float | None,
    video: str | None = None,
) -> str:
    """One text for what decides a record's result.

    A JSON array without spaces; paths as they are written in the manifest (not what the files hold),
    numbers by value, so that `2.80` in a CSV file and 2.8 in a Parquet file are the same.
    """
    values = (image, audio, motion, mode, seed, cfg_scale)
    return _encode(values if video is None else (*values, video))


def derive_record_id(content: str) -> str:
    """The id of a row that brings none: the 12-byte BLAKE2b of its content, 24 hexadecimal digits.

    Two rows with the same content get the same id: the second one is a duplicate.
    """
    return hashlib.blake2b(content.encode(), digest_size=DERIVED_ID_BYTES).hexdigest()


def derive_seed(run_seed: int, record_id: str) -> int:
    """The seed of a record whose row brings none.

    Returns:
        0 to 2^63-1: the upper 63 bits of the 8-byte BLAKE2b of `<run seed>:<record id>`, read big-endian.
    """
    digest = hashlib.blake2b(f"{run_seed}:{record_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def file_stem(record_id: str) -> str:
    """The name, without suffix, of the files of a record.

    An id that is safe on every common file system is its own stem: up to 100 of the characters
    `a-z 0-9 _ . -`, no `.` or `-` first, no `.` last, no reserved name of Windows. Any other id
    becomes `<slug>~<hash>`: up to 48 characters in which all but letters, digits, `_` and `-` are
    `_`, and the 16 hexadecimal digits of the 8-byte BLAKE2b of the id. Capital letters count as
    unsafe because `Anna` and `anna` are one file on some systems. As `~` never occurs in a safe id,
    two different ids never share a stem, not even after case folding or Unicode normalisation.
    """
    if _SAFE_ID.fullmatch(record_id) and not _WINDOWS_RESERVED.fullmatch(record_id):
        return record_id
    slug = _UNSAFE_RUN.sub("_", record_id[: 4 * SLUG_CHARACTERS]).strip("_-")[:SLUG_CHARACTERS] or "id"
    digest = hashlib.blake2b(record_id.encode(), digest_size=HASH_CHARACTERS // 2).hexdigest()
    return f"{slug}~{digest}"
