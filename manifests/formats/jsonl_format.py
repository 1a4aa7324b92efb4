"""Manifests with one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa

from manifests.formats.block import OpenFile, Reader, RowBlock, RowFault, batch_rows
from manifests.formats.json_types import JsonTypes, build_json_array
from manifests.formats.lines import Lines, find_text
from manifests.problems import ManifestError, safe_text
from manifests.schema import COLUMN_NAMES


class JsonLinesReader(Reader):
    """Reads `.jsonl` and `.ndjson`; the number of a row is that of its line, and blank lines are skipped.

    Args:
        name: name of the file, for messages.
        open_file: function that opens the file for reading.
        types: types of the columns; all files of a manifest share them.
    """

    def __init__(self, name: str, open_file: OpenFile, types: JsonTypes) -> None:
        self._start, open_text = find_text(name, open_file)
        super().__init__(name, open_text)
        self._types = types
        self._types_complete = False  # whether all rows were read
        with open_text() as file:
            file.seek(self._start)
            if file.read(256).lstrip().startswith(b"["):
                sentence = (
                    f"{name}: is one JSON array; expected one object per line, without brackets and commas around them"
                )
                raise ManifestError("manifest_format", sentence)

    def extra_schema(self) -> pa.Schema:
        """See `Reader`."""
        if not self._types_complete:
            with self._open() as file:
                for _ in self._rows(file):
                    pass
        return self._types.schema()

    def blocks(self, *, extra: bool = False) -> Iterator[RowBlock]:
        """See `Reader`.

        Raises:
            ManifestError: `manifest_unreadable` if the file changed after `extra_schema` had read it.
        """
        schema = self.extra_schema() if extra else None
        with self._open() as file:
            for rows in batch_rows(self._rows(file)):
                if schema is not None and not self._types.schema().equals(schema, check_metadata=True):
                    sentence = f"{self.name}: was changed while it was read: start again when it is complete"
                    raise ManifestError("manifest_unreadable", sentence)
                yield self._block(rows, schema)

    def _rows(self, file: BinaryIO) -> Iterator[tuple[int, dict[str, Any] | RowFault]]:
        """Yield each row as (line number, object or fault)."""
        lines = Lines(file, offset=self._start)
        for line in lines:
            number = lines.number - 1
            fault = lines.take_fault()
            if fault:
                yield number, fault
            elif not line.isspace():
                yield number, self._parse(line)
        self._types_complete = True

    def _parse(self, line: str) -> dict[str, Any] | RowFault:
        try:
            content = json.loads(line, object_pairs_hook=_unique_names)
        except _RepeatedName as error:
            sentence = f"has the name {safe_text(error.name)} twice: remove one"
            return RowFault("malformed_json", sentence, line.rstrip())
        except (ValueError, RecursionError) as error:
            reason = str(error).partition(": line 1")[0]
            position = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
            return RowFault("malformed_json", f"is not valid JSON ({reason}{position}): write it again", line.rstrip())
        if not isinstance(content, dict):
            return RowFault("malformed_json", "is not a JSON object; expected {...} with column names", line.rstrip())
        for name, value in content.items():
            if name not in COLUMN_NAMES and not self._types.observe(name, value):
                return RowFault("malformed_json", f"has a name that is not text: {safe_text(name)}", line.rstrip())
        return content

    def _block(self, rows: list[tuple[int, dict[str, Any] | RowFault]], schema: pa.Schema | None) -> RowBlock:
        numbers, contents = zip(*rows, strict=True)
        faults = {index: content for index, content in enumerate(contents) if isinstance(content, RowFault)}
        objects = [{} if isinstance(content, RowFault) else content for content in contents]
        columns = {name: [content.get(name) for content in objects] for name in COLUMN_NAMES}

        table = None
        if schema is not None:
            arrays = [build_json_array([content.get(column.name) for content in objects], column) for column in schema]
            table = pa.table(arrays, schema=schema)
        return RowBlock(list(numbers), columns, faults, table)


class _RepeatedName(Exception):  # noqa: N818 (becomes a row fault)
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the content of a JSON object; raise `_RepeatedName` if a name occurs twice."""
    content = dict(pairs)
    if len(content) < len(pairs):
        seen: set[str] = set()
        raise _RepeatedName(next(name for name, _ in pairs if name in seen or seen.add(name)))
    return content
