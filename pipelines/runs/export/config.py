"""Options of an export."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

from joyvasa.errors import ConfigError
from manifests.problems import safe_text

Format = Literal["webdataset", "parquet", "folder"]
Media = Literal["embed", "files"]
FORMATS: tuple[Format, ...] = get_args(Format)
MEDIA: tuple[Media, ...] = get_args(Media)
DEFAULT_SHARD_BYTES = 1_000_000_000
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]I?)?B?", re.IGNORECASE)
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")  # OWNER/NAME on the hub


@dataclass(frozen=True)
class ExportConfig:
    """Options of an export.

    Raises:
        ConfigError: `config_invalid`.
    """

    format: Format = "webdataset"  # format of the data set
    media: Media = "embed"  # whether a Parquet table holds the videos (`embed`) or their names (`files`)
    shard_bytes: int = DEFAULT_SHARD_BYTES  # size at which a shard ends; a record is never divided
    # whether portraits and recordings are included; None includes them except in `webdataset`
    inputs: bool | None = None
    accept_licenses: bool = False  # whether to export rows whose licenses are restrictive or unclear
    # license of the data set for the hub, for example `cc-by-4.0`; None derives it from the rows
    license: str | None = None
    # whether the data set is meant to be uploaded, which also requires that sources state licenses
    publish: bool = False

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise _invalid("--format", self.format, f"one of {', '.join(FORMATS)}")
        if self.media not in MEDIA:
            raise _invalid("--media", self.media, f"one of {', '.join(MEDIA)}")
        if self.media == "files" and self.format == "webdataset":
            raise _invalid("--media", self.media, "embed with webdataset: its tar files hold the videos")
        if self.inputs and self.format == "webdataset":
            raise _invalid("--inputs", "webdataset", "parquet or folder: samples of tar files need equal members")
        if self.license is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,63}", self.license):
            raise _invalid("--license", self.license, "an identifier of the hub, such as cc-by-4.0, mit or other")

    @property
    def with_inputs(self) -> bool:
        """Whether portraits and recordings are included."""
        return self.format != "webdataset" if self.inputs is None else self.inputs

    @property
    def with_files(self) -> bool:
        """Whether each video is a file of its own."""
        return self.format == "folder" or self.media == "files"

    @property
    def with_caption_files(self) -> bool:
        """Whether captions are files next to the videos."""
        return self.format != "parquet" or self.media == "files"


def parse_size(text: str) -> int:
    """Parse a size such as `500MB`, `1GB` or `1.5GiB`.

    Returns:
        Number of bytes, at least 1.

    Raises:
        ConfigError: `config_invalid`.
    """
    match = _SIZE.fullmatch(text.strip())
    size = float(match[1]) * _UNITS[(match[2] or "").upper()] if match else 0
    if not 1 <= size < math.inf:
        raise _invalid("--shard-size", text, "a size of at least one byte, such as 500MB, 1GB or 2GiB")
    return int(size)


def check_repository(name: str) -> None:
    """Check the name of a repository of the hub.

    Raises:
        ConfigError: `config_invalid`.
    """
    if not _REPOSITORY.fullmatch(name) or "--" in name or ".." in name or len(name) > 96:
        raise _invalid("--push", name, "OWNER/NAME, such as me/talking-heads")


def _invalid(option: str, value: object, expected: str) -> ConfigError:
    return ConfigError("config_invalid", f"{option}: found {safe_text(str(value))!r}; expected {expected}")
