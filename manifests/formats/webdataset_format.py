"""Manifests in WebDataset tar files: consecutive members with the same key are a row."""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator
from typing import IO, Any, BinaryIO, cast

from joyvasa.runtime.parsing import parse_json
from manifests.formats.block import OpenFile, RowFault
from manifests.formats.json_types import JsonTypes
from manifests.formats.jsonl_format import JsonLinesReader
from manifests.problems import ManifestError, safe_text
from manifests.schema import find_media_column
from manifests.tar_members import BoundedTarInfo, iterate_members

KEY = "__key__"  # passed-through column with the key of the sample, as `webdataset` names it
MAX_FIELD_BYTES = 1 << 20  # of a member with JSON or text
_FAULT = "\0fault"  # key of an object in the index that stands for a bad row
_MEDIA = frozenset({"image", "audio", "motion", "video"})


class WebDatasetIndex:
    """A temporary file with the rows of all tar files of a manifest, as JSON Lines; media are locations.

    Each tar file is read once, the content of its media is skipped. The file has no name and ends with the process.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None

    def add(self, lines: Iterator[bytes]) -> tuple[int, int]:
        """Append lines; return their start and end in bytes."""
        if self._file is None:
            self._file = tempfile.TemporaryFile()
        start = self._file.seek(0, io.SEEK_END)
        self._file.writelines(lines)
        self._file.flush()
        return start, self._file.tell()

    def open(self, start: int, end: int) -> BinaryIO:
        """Open a part of the index for reading."""
        assert self._file is not None, "parts are returned by `add`"
        return cast(BinaryIO, io.BufferedReader(_FilePart(self._file.fileno(), start, end), 1 << 20))


class WebDatasetReader(JsonLinesReader):
    """Reads `.tar`; samples are numbered from 1.

    A member is in the column of its kind (`image`, `audio`, `video`, `motion`) by its suffix; `.txt` is `text`, and the
    object in `.json` has the other columns.

    Args:
        name: name of the file, for messages.
        open_file: function that opens the file.
        types: types of the columns; all files of a manifest share them.
        index: index of the manifest.
        file: path of the file in the folder of the manifest.

    Raises:
        ManifestError: `manifest_unreadable`, or `manifest_empty` if the file has no samples.
    """

    row_unit = "sample"
    holds_media = True

    def __init__(self, name: str, open_file: OpenFile, types: JsonTypes, *, index: WebDatasetIndex, file: str) -> None:
        try:
            with open_file() as stream, tarfile.open(fileobj=stream, mode="r:", tarinfo=BoundedTarInfo) as tar:
                part = index.add(json.dumps(row).encode() + b"\n" for row in _read_samples(tar, file))
        except (tarfile.TarError, OSError, EOFError) as error:
            reason = safe_text(str(error) or type(error).__name__, 200)
            sentence = f"{name}: cannot be read as an uncompressed tar file ({reason}): make it again"
            raise ManifestError("manifest_unreadable", sentence) from None
        if part[0] == part[1]:
            sentence = (
                f"{name}: holds no sample; expected files such as 0001.jpg and 0001.wav: check how it was created"
            )
            raise ManifestError("manifest_empty", sentence)
        super().__init__(name, lambda: index.open(*part), types)

    def _parse(self, line: str) -> dict[str, Any] | RowFault:
        content = super()._parse(line)
        if isinstance(content, dict) and _FAULT in content:
            return RowFault(*content[_FAULT])
        return content


class _FilePart(io.RawIOBase):
    """A part of a file, read without moving the position of the file."""

    def __init__(self, handle: int, start: int, end: int) -> None:
        self._handle, self._start, self._end, self._position = handle, start, end, start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = (self._start, self._position, self._end)[whence]
        self._position = base + offset
        return self._position - self._start

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        content = os.pread(self._handle, min(len(buffer), max(0, self._end - self._position)), self._position)
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


def _read_samples(tar: tarfile.TarFile, file: str) -> Iterator[dict[str, Any]]:
    """Yield the row of each sample of a tar file."""
    sample, keys = _Sample("", file), set[str]()
    for entry in iterate_members(tar):
        folder, _, name = entry.name.removeprefix("./").rpartition("/")
        stem, _, extension = name.partition(".")
        if not stem or not extension:
            continue
        key = f"{folder}/{stem}" if folder else stem
        if key != sample.key:
            if sample.members:
                yield sample.row()
            sample = _Sample(key, file)
            if key in keys:
                found = "has members in several places of the file; expected all next to each other"
                sample.fail("sample_scattered", f"{found}: make it with tar --sort=name", key)
            keys.add(key)
        sample.add(tar, entry, extension)
    if sample.members:
        yield sample.row()


class _Sample:
    """Members of a tar file with the same key."""

    def __init__(self, key: str, file: str) -> None:
        self.key = key
        self.members = 0
        self._file = file
        self._media: dict[str, list[tuple[str, str]]] = {}  # extension and name of the members, by column
        self._fields: dict[str, Any] = {}
        self._fault: RowFault | None = None

    def add(self, tar: tarfile.TarFile, entry: tarfile.TarInfo, extension: str) -> None:
        self.members += 1
        column, kind = find_media_column(entry.name), extension.lower()
        if column:
            self._media.setdefault(column, []).append((kind, entry.name))
        elif kind in ("json", "txt"):
            source = tar.extractfile(entry) if entry.size <= MAX_FIELD_BYTES else None
            if source is None:
                self.fail("line_too_long", f"has more than {MAX_FIELD_BYTES:,} bytes in {entry.name}", entry.name)
                return
            try:
                content = source.read().decode("utf-8-sig")
                self._fields |= self._parse_object(content) if kind == "json" else {"text": content.strip() or None}
            except UnicodeDecodeError as error:
                self.fail("not_utf8", f"is not UTF-8 (byte {error.start + 1}) in {safe_text(entry.name)}", entry.name)
            except ValueError as error:
                reason = safe_text(str(error), 200)
                self.fail("malformed_json", f"{safe_text(entry.name)} is no JSON object ({reason})", entry.name)

    def row(self) -> dict[str, Any]:
        """Return the row as the index holds it."""
        media: dict[str, str] = {}
        for column, members in self._media.items():
            name = self._choose(column, members)
            if name and ("::" in name or name.startswith("/")):
                self.fail("member_unusable", "has a name that no location can hold: rename the member", name)
            elif name:
                media[column] = f"tar://{name}::{self._file}"
        if self._fault:
            return {_FAULT: [self._fault.code, self._fault.sentence, self._fault.value]}
        fields = {name: value for name, value in self._fields.items() if name not in _MEDIA}
        stem = os.path.splitext(os.path.basename(self._file))[0]
        return {"record_id": f"{stem}-{self.key}", **fields, **media, KEY: self.key}

    def _choose(self, column: str, members: list[tuple[str, str]]) -> str | None:
        """Return the member of a column: `image.jpg` for `image`, else one with a plain suffix, else the only one."""
        for is_meant in (lambda kind: kind.partition(".")[0] == column, lambda kind: "." not in kind, lambda _: True):
            names = [name for kind, name in members if is_meant(kind)]
            if len(names) == 1:
                return names[0]
            if names:
                problem = f"has {len(names)} files for {column}: name one of them KEY.{column}.SUFFIX"
                self.fail("member_ambiguous", problem, ", ".join(names[:3]))
                return None
        return None

    def _parse_object(self, content: str) -> dict[str, Any]:
        value = parse_json(content)
        if not isinstance(value, dict):
            raise ValueError(f"found {type(value).__name__}")
        return {name: entry for name, entry in value.items() if name != _FAULT}

    def fail(self, code: str, sentence: str, value: str) -> None:
        """Make the row a bad one, unless it is one already."""
        self._fault = self._fault or RowFault(code, sentence, value)
