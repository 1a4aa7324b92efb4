"""A record: its id, its seed, its file name, and the hash of its content.

These depend on the content of the row only, not on its position, so that sorting or splitting a manifest does not
change them.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from manifests.problems import ManifestError

DERIVED_ID_BYTES = 12  # 96 bits: for 10^9 rows the collision probability is 10^-11
SAFE_ID_CHARACTERS = 100  # leaves room for suffixes below the 255 bytes of common file systems
SLUG_CHARACTERS = 48
HASH_CHARACTERS = 16  # hexadecimal; 64 bits

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_SAFE_ID = re.compile(rf"[a-z0-9_](?:[a-z0-9_.-]{{0,{SAFE_ID_CHARACTERS - 2}}}[a-z0-9_-])?")
_WINDOWS_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?")
_UNSAFE_RUN = re.compile(r"[^A-Za-z0-9_-]+")


OptionValue: TypeAlias = float | int | bool | str
Options: TypeAlias = tuple[tuple[str, OptionValue], ...]
"""Names and values of options that a row sets, sorted by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A checked row of a manifest, the unit of work of a run; media are absolute paths or URIs."""

    id: str  # unique within the run
    # image, audio, motion: portrait, recording and motion file, or None
    image: str | None = None
    audio: str | None = None
    motion: str | None = None
    video: str | None = None  # existing video, or None
    mode: str = "human"  # `human` or `animal`
    given_seed: int | None = None  # seed in the row, if any
    cfg_scale: float | None = None  # guidance scale in the row, if any
    priority: int = 0  # records with a higher value are processed earlier
    options: Options = ()  # options of the method that the row sets, see `stages.record_options`
    # text to speak, of a row with neither recording nor motion. In a run, `audio` is the file of the speech
    text: str | None = None
    voice: str | None = None  # voice that the row names to speak the text
    row: int = 0  # number of the row in its manifest, see `Problem.row`
    # seed of the record's random generator, so that results do not depend on batches, order and retries; 0 until a run
    # sets it
    seed: int = 0
    shard: int = 0  # number of the shard in the run

    def require(self, column: Literal["image", "audio", "motion", "video"]) -> str:
        """Return the location in a column, which must not be empty.

        Raises:
            ManifestError: `missing_value`.
        """
        location = getattr(self, column)
        if location is None:
            raise ManifestError("missing_value", f"record {self.id}: {column} is empty; expected a path or URI")
        return location


def encode_content(
    image: str | None,
    audio: str | None,
    motion: str | None,
    mode: str,
    seed: int | None,
    cfg_scale: float | None,
    video: str | None = None,
    options: Options = (),
    text: str | None = None,
    voice: str | None = None,
) -> str:
    """Return the values that determine a record's result as one text.

    The text is a JSON array without spaces. Paths are as written in the manifest. Numbers are normalized, so that
    `2.80` in a CSV file and 2.8 in a Parquet file give the same text.
    """
    values = (image, audio, motion, mode, seed, cfg_scale)
    if text is not None:
        return _encode((*values, video, dict(options), text, *([voice] if voice else [])))
    if options:
        return _encode((*values, video, dict(options)))
    return _encode(values if video is None else (*values, video))


def derive_record_id(content: str) -> str:
    """Return the id of a row without one: the 12-byte BLAKE2b of its content, 24 hexadecimal digits.

    Rows with equal content get the same id; all but the first are duplicates.
    """
    return hashlib.blake2b(content.encode(), digest_size=DERIVED_ID_BYTES).hexdigest()


def speech_path(text: str, voice: str | None = None) -> str:
    """Return the path of the speech of a text within the run folder; rows with equal texts and voices share it.

    Args:
        text: spoken text.
        voice: voice that the row names, at most 64 bytes.
    """
    digest = hashlib.blake2b(text.encode(), digest_size=DERIVED_ID_BYTES, key=(voice or "").encode())
    return f"speech/{digest.hexdigest()}.wav"


def derive_seed(run_seed: int, record_id: str) -> int:
    """Return the seed of a record whose row has none.

    Returns:
        0 to 2^63-1: the upper 63 bits of the 8-byte BLAKE2b of `<run seed>:<record id>`, read big-endian.
    """
    digest = hashlib.blake2b(f"{run_seed}:{record_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def file_stem(record_id: str) -> str:
    """Return the name, without suffix, of the files of a record.

    An id that is safe on every common file system is its own stem: up to 100 of the characters `a-z 0-9 _ . -`, without
    `.` or `-` at the start, without `.` at the end, and no reserved name of Windows. Any other id becomes
    `<slug>~<hash>`: up to 48 characters of the id, in which all but letters, digits, `_` and `-` are replaced by `_`,
    and the 8-byte BLAKE2b of the id as 16 hexadecimal digits. Capital letters are unsafe because `Anna` and `anna` are
    the same file on some systems. `~` does not occur in safe ids, so different ids have different stems, even after
    case folding or Unicode normalization.
    """
    if _SAFE_ID.fullmatch(record_id) and not _WINDOWS_RESERVED.fullmatch(record_id):
        return record_id
    slug = _UNSAFE_RUN.sub("_", record_id[: 4 * SLUG_CHARACTERS]).strip("_-")[:SLUG_CHARACTERS] or "id"
    digest = hashlib.blake2b(record_id.encode(), digest_size=HASH_CHARACTERS // 2).hexdigest()
    return f"{slug}~{digest}"
