"""Manifests with comma- or tab-separated values (RFC 4180); all values are text."""

from __future__ import annotations

import csv
from collections.abc import Iterator

import pyarrow as pa

from manifests.formats.block import (
    OpenFile,
    Reader,
    RowBlock,
    RowFault,
    batch_rows,
    check_columns,
    select_extra_columns,
)
from manifests.formats.lines import Lines, find_text
from manifests.problems import ManifestError
from manifests.schema import COLUMN_NAMES


class CsvReader(Reader):
    """Reads `.csv` and `.tsv`; quoted fields may contain separators, doubled quotation marks and line breaks.

    The number of a row is the number of its first line, as an editor shows it.
    """

    columns: tuple[str, ...]

    def __init__(self, name: str, open_file: OpenFile, delimiter: str = ",", *, required: str | None = None) -> None:
        start, open_text = find_text(name, open_file)
        super().__init__(name, open_text)
        self._delimiter = delimiter
        with open_text() as file:
            lines = Lines(file, offset=start)
            try:
                header = next((row for row in csv.reader(lines, delimiter=delimiter, strict=True) if row), [])
            except csv.Error as error:
                raise ManifestError("manifest_unreadable", f"{name}: header is not valid CSV ({error})") from None
            if fault := lines.take_fault():
                raise ManifestError("manifest_encoding", f"{name}: header {fault.sentence}")
            self._first_row = lines.offset, lines.number

        # pandas writes an empty name for an index column
        self.columns = tuple(column.strip() or f"column_{index}" for index, column in enumerate(header, start=1))
        check_columns(name, self.columns, required)

    def extra_schema(self) -> pa.Schema:
        """See `Reader`; text in every column."""
        return pa.schema([(column, pa.string()) for column in select_extra_columns(self.columns)])

    def blocks(self, *, extra: bool = False) -> Iterator[RowBlock]:
        """See `Reader`."""
        with self._open() as file:
            lines = Lines(file, offset=self._first_row[0], number=self._first_row[1])
            for rows in batch_rows(self._rows(lines)):
                yield self._block(rows, extra=extra)

    def _rows(self, lines: Lines) -> Iterator[tuple[int, list[str] | RowFault]]:
        """Yield each row as (line number, fields or fault)."""
        width = len(self.columns)
        rows = csv.reader(lines, delimiter=self._delimiter, strict=True)
        while True:
            number, start = lines.number, lines.offset
            try:
                fields = next(rows, None)
            except csv.Error as error:
                # An unclosed quotation mark consumes the rows after it: go back and skip one line only.
                lines.seek(start, number)
                text = next(lines)
                lines.take_fault()
                yield number, RowFault("malformed_csv", f"is not valid CSV ({error}): check its quotes", text)
                rows = csv.reader(lines, delimiter=self._delimiter, strict=True)
                continue

            fault = lines.take_fault()
            if fault:
                yield number, fault
            elif fields is None:
                return
            elif len(fields) == width:
                yield number, fields
            elif fields:
                sentence = f"has {len(fields)} fields; the header has {width}: check its commas and quotes"
                yield number, RowFault("wrong_field_count", sentence, self._delimiter.join(fields))

    def _block(self, rows: list[tuple[int, list[str] | RowFault]], *, extra: bool) -> RowBlock:
        empty: list[None] = [None] * len(self.columns)
        numbers, contents = zip(*rows, strict=True)
        faults = {index: content for index, content in enumerate(contents) if isinstance(content, RowFault)}
        values = zip(*(empty if isinstance(content, RowFault) else content for content in contents), strict=True)
        columns = dict(zip(self.columns, map(list, values), strict=True))

        table = None
        if extra:
            schema = self.extra_schema()
            table = pa.table([pa.array(columns[name], pa.string()) for name in schema.names], schema=schema)
        standard = {name: columns[name] for name in COLUMN_NAMES if name in columns}
        return RowBlock(list(numbers), standard, faults, table)
