"""Manifests with one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from manifests.errors import ManifestError
from manifests.formats.block import Block, Open, Reader, RowFault, Span, in_blocks
from manifests.formats.json_types import JsonTypes, json_array
from manifests.formats.lines import Lines, text_start
from manifests.problems import safe_text
from manifests.schema import NAMES


class JsonLinesReader(Reader):
    """Reads `.jsonl` and `.ndjson`. Rows are counted by lines; blank lines are skipped."""

    def __init__(self, name: str, open_file: Open) -> None:
        super().__init__(name, open_file)
        self._types = JsonTypes(name)
        with open_file() as file:
            self._start = text_start(name, file)
            file.seek(self._start)
            if file.read(256).lstrip().startswith(b"["):
                sentence = f"{name}: is one JSON array; expected one object a line, without brackets and commas around"
                raise ManifestError("manifest_format", sentence)

    def columns(self) -> None:
        """See `Reader`: every line may bring its own."""
        return

    def extra_schema(self) -> pa.Schema:
        """See `Reader`."""
        return self._types.schema()

    def blocks(self, span: Span | None = None, extra: pa.Schema | None = None) -> Iterator[Block]:
        """See `Reader`."""
        with self._open() as file:
            if span is None:
                lines = Lines(file, offset=self._start)
            else:
                lines = Lines(file, offset=span.offset, number=span.first_row, end=span.offset + span.length)
            for pending in in_blocks(self._rows(lines)):
                yield self._block(pending, lines.offset, extra)

    def _rows(self, lines: Lines) -> Iterator[tuple[int, int, dict[str, Any] | RowFault]]:
        """Each row as (line number, byte offset, object or fault)."""
        while True:
            number, start = lines.number, lines.offset
            line = next(lines, None)
            if line is None:
                return
            fault = lines.take_fault()
            if fault:
                yield number, start, fault
            elif not line.isspace():
                yield number, start, self._parse(line)

    def _parse(self, line: str) -> dict[str, Any] | RowFault:
        try:
            content = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = str(error).partition(": line 1")[0]
            where = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
            return RowFault("malformed_json", f"is not valid JSON ({reason}{where}): write it again", line.rstrip())
        if not isinstance(content, dict):
            return RowFault("malformed_json", "is not a JSON object; expected {...} with column names", line.rstrip())
        for name, value in content.items():
            if name not in NAMES and not self._types.observe(name, value):
                return RowFault("malformed_json", f"has a name that is not text: {safe_text(name)}", line.rstrip())
        return content

    def _block(
        self, rows: list[tuple[int, int, dict[str, Any] | RowFault]], end: int, extra: pa.Schema | None
    ) -> Block:
        numbers, starts, contents = zip(*rows, strict=True)
        faults = {at: content for at, content in enumerate(contents) if isinstance(content, RowFault)}
        objects = [{} if isinstance(content, RowFault) else content for content in contents]
        known = {name: [content.get(name) for content in objects] for name in NAMES}
        table = None
        if extra is not None:
            arrays = [json_array([content.get(column.name) for content in objects], column) for column in extra]
            table = pa.table(arrays, schema=extra)
        return Block(list(numbers), list(starts), end, known, faults, extra=table)
