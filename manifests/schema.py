"""The standard columns of a manifest, the parsers of their values, and the suffixes of their media files."""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from joyvasa.mode import MODES
from manifests.problems import ValueFault

MAX_SEED = 2**63 - 1  # maximum of a signed 64-bit integer, which every table format can store
MAX_CFG_SCALE = 100.0  # guidance is useful below about 10; a larger value is a typing error
MAX_PRIORITY = 2**31 - 1
MAX_PATH_CHARACTERS = 4096  # PATH_MAX of Linux
MAX_ID_CHARACTERS = 1000  # a longer value is a text in the wrong column
MAX_COLUMNS = 1000  # more columns mean that their names are data
EXACT_FLOAT = 2**53  # largest whole number up to which a 64-bit float is exact

_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_INTEGER = re.compile(r"[+-]?[0-9]{1,30}(\.0*)?")


@dataclass(frozen=True)
class ManifestColumn:
    """A standard column: its name, the parser of its values, and its meaning."""

    name: str
    parse: Callable[[Any], Any]  # raises ValueFault; never sees None or an empty text
    meaning: str


def parse_path(value: object) -> str:
    """Return a path or URI exactly as written."""
    return _text(value, MAX_PATH_CHARACTERS)


def parse_record_id(value: object) -> str:
    """Return a record id as text, so that `007` stays `007`; a whole number becomes its digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _text(value, MAX_ID_CHARACTERS)


def parse_mode(value: object) -> str:
    """Return `human` or `animal`."""
    if value not in MODES:
        raise ValueFault("unknown_mode", f"expected {' or '.join(MODES)}")
    return str(value)


def parse_number(value: object, kind: str = "a number") -> float:
    """Return a finite number; `kind` is what is expected."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueFault("wrong_type", f"expected {kind}")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise ValueFault("wrong_type", f"expected {kind}") from None
    if not math.isfinite(number):
        raise ValueFault("out_of_range", f"expected {kind} that is finite")
    return number


def parse_cfg_scale(value: object) -> float:
    """Return a number from 0 to 100."""
    number = parse_number(value)
    if not 0 <= number <= MAX_CFG_SCALE:
        raise ValueFault("out_of_range", f"expected a number from 0 to {MAX_CFG_SCALE:g}")
    return number


def _text(value: object, limit: int) -> str:
    if not isinstance(value, str):
        raise ValueFault("wrong_type", f"expected text, found {type(value).__name__}")
    if not value.isprintable() and (forbidden := _FORBIDDEN.search(value)):
        if "\ud800" <= forbidden[0] <= "\udfff":
            raise ValueFault("control_character", "is not UTF-8: rename the file, or correct the text")
        raise ValueFault("control_character", "holds a control character: remove it")
    if value.isspace():
        raise ValueFault("missing_value", "holds only spaces")
    if len(value) > limit:
        raise ValueFault("too_long", f"has {len(value)} characters; expected at most {limit}")
    return value


def _integer(value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueFault("wrong_type", "expected a whole number")
    if isinstance(value, str):
        if not _INTEGER.fullmatch(value.strip()):
            raise ValueFault("wrong_type", "expected a whole number such as 42")
        number = int(value.strip().partition(".")[0])
    elif isinstance(value, float):
        if not value.is_integer():
            raise ValueFault("wrong_type", "expected a whole number")
        if abs(value) > EXACT_FLOAT:
            raise ValueFault("wrong_type", "was stored as floating point and has lost digits: store whole numbers")
        number = int(value)
    else:
        number = value

    if not low <= number <= high:
        raise ValueFault("out_of_range", f"expected {low} to {high}")
    return number


IMAGES = frozenset(".avif .bmp .gif .hdr .jp2 .jpeg .jpg .pam .pfm .pgm .png .pnm .ppm .tif .tiff .webp".split())
SOUNDS = frozenset(".aac .aif .aiff .au .caf .flac .m4a .mka .mp3 .oga .ogg .opus .wav .wma".split())
VIDEOS = frozenset(".avi .flv .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv".split())
MOTIONS = frozenset({".safetensors"})
_COLUMNS = {"image": IMAGES, "audio": SOUNDS, "video": VIDEOS, "motion": MOTIONS}


def find_media_column(name: str) -> str | None:
    """Return the column of a manifest for files with the suffix of a name; None if it is no medium."""
    suffix = posixpath.splitext(name)[1].lower()
    return next((column for column, suffixes in _COLUMNS.items() if suffix in suffixes), None)


MANIFEST_COLUMNS = (
    ManifestColumn(
        "image",
        parse_path,
        "portrait or video of a face: path or URI, relative to the manifest's folder unless absolute; or bytes",
    ),
    ManifestColumn("audio", parse_path, "recording: path or URI, or bytes; optional if motion is given"),
    ManifestColumn(
        "motion", parse_path, "motion file or driving video: path or URI, or bytes; used instead of sampled motion"
    ),
    ManifestColumn(
        "video", parse_path, "existing video: path or URI, or bytes; input of joyvasa evaluate and joyvasa prepare"
    ),
    ManifestColumn("record_id", parse_record_id, "unique name; default: derived from the content of the row"),
    ManifestColumn("mode", parse_mode, "human (default) or animal"),
    ManifestColumn(
        "seed",
        lambda value: _integer(value, 0, MAX_SEED),
        "0 to 2^63-1; default: derived from the run's seed and the record id",
    ),
    ManifestColumn("cfg_scale", parse_cfg_scale, "guidance scale of the audio; default: the option of the run"),
    ManifestColumn(
        "priority",
        lambda value: _integer(value, -MAX_PRIORITY - 1, MAX_PRIORITY),
        "whole number, higher first; default 0",
    ),
)
COLUMN_NAMES = tuple(column.name for column in MANIFEST_COLUMNS)
