"""Scan a manifest: each row becomes a record or a list of problems."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, TypeAlias

import pyarrow as pa

from joyvasa.errors import first_line
from joyvasa.mode import Mode
from manifests.formats.block import Reader, RowBlock
from manifests.formats.media_columns import MEDIA_COLUMNS
from manifests.hash_index import HashIndex
from manifests.manifest import Manifest, open_readers, resolve_location, unify_extra_schemas
from manifests.media_files import MediaFileCheck
from manifests.option_columns import OptionColumns, normalize_name
from manifests.problems import ManifestError, Problem, ScanSummary, ValueFault, safe_text
from manifests.record import Options, OptionValue, Record, derive_record_id, encode_content
from manifests.schema import COLUMN_NAMES, MANIFEST_COLUMNS, parse_record_id
from manifests.speech import (
    MAX_SPOKEN_CHARACTERS,
    TEXT,
    TEXT_WITHOUT_SOUND,
    VOICE,
    Voices,
    fill_column,
    read_texts,
    read_voices,
)

DEFAULT_MODE: Mode = "human"

Fault: TypeAlias = tuple[str, Any, ValueFault]
"""Column and value of a bad value, and what is wrong with it."""

Faults: TypeAlias = dict[int, list[Fault]]
"""Faults by index of the row in its block."""


@dataclass(frozen=True)
class ScannedBlock:
    """Checked rows of one file."""

    block: RowBlock
    records: list[Record | None]  # None where the row has a problem
    problems: list[Problem]


@dataclass(eq=False)
class Scan:
    """Streams a manifest once and checks every row; uses 28 bytes per row to find duplicates."""

    manifest: Manifest  # manifest to read
    _: KW_ONLY
    files: MediaFileCheck | None = None  # lookup of the media files of rows; None skips it
    # whether rows must have an existing video; otherwise they must have a portrait and a recording or motion
    videos: bool = False
    options: OptionColumns | None = None  # columns that set options; None passes them through
    # voices that speak the text of rows with neither recording nor motion; without them such rows are bad
    voices: Voices | None = None

    def __post_init__(self) -> None:
        self._voices = None if self.videos else self.voices
        if self.videos:
            self.manifest = replace(self.manifest, required="video")
        self.summary = ScanSummary()
        self._readers: list[tuple[str, Reader]] = []  # opened by `extra_schema`
        self._extra: pa.Schema | None = None  # result of `extra_schema`
        self._ids = HashIndex()
        self._first_rows = array("q")  # by number of the id in `_ids`
        self._first_files = array("i")

    def extra_schema(self) -> pa.Schema:
        """Return names and types of the passed-through columns of all files; JSON Lines files are read for that.

        Raises:
            ManifestError: `manifest_columns` if a column has conflicting types, or see `Manifest.open_reader`.
        """
        if self._extra is None:
            self._readers = list(open_readers(self.manifest))
            for _, reader in self._readers:
                reader.extra_schema()  # the files of JSON Lines share their types: all must be read first
            self._extra = unify_extra_schemas([reader.extra_schema() for _, reader in self._readers])
        return self._extra

    def list_media_files(self) -> list[str]:
        """Return the files that may hold media of their rows, once `extra_schema` was called."""
        return [file for file, reader in self._readers if reader.holds_media]

    def blocks(self, *, extra: bool = False) -> Iterator[ScannedBlock]:
        """Yield the checked rows in order; `summary` is updated with each block and complete at the end.

        Args:
            extra: whether to read the passed-through columns; each block has all of them, with the types of
                `extra_schema`.

        Raises:
            ManifestError: the manifest as a whole cannot be read, has no rows (`manifest_empty`), or a passed-through
                value does not fit the common type of its column (`manifest_columns`).
        """
        schema = self.extra_schema() if extra else None
        for index, (file, reader) in enumerate(self._readers or open_readers(self.manifest)):
            names = self._find_options(file, reader)
            # Problems of rows with texts name the option tts.
            with_text = reader.columns is None or TEXT in reader.columns
            for block in reader.blocks(extra=extra or bool(names) or with_text):
                if schema is not None:
                    block = replace(block, extra=_with_schema(file, block, schema))
                scanned = self._check(index, file, reader, block, names)
                modes = (record.mode for record in scanned.records if record)
                self.summary.add(scanned.records, scanned.problems, modes)
                yield scanned
            self._note(reader.notes)
            self._note_near_misses(reader.extra_schema().names)

        if not self.summary.rows:
            name = safe_text(self.manifest.uri, 200)
            raise ManifestError(
                "manifest_empty", f"{name}: has no rows; expected one per record: check how it was created"
            )

    def _find_options(self, file: str, reader: Reader) -> list[str]:
        """Return the columns of a file that set options.

        Raises:
            ManifestError: `option_unknown`.
        """
        if self.options is None:
            return []
        columns = reader.extra_schema().names
        names = sorted(name for name in columns if name in self.options.specs)
        self._note(self.options.check_names(safe_text(file), [name for name in columns if name not in names]))
        return names

    def _check(
        self, file_index: int, file: str, reader: Reader, block: RowBlock, option_names: Sequence[str]
    ) -> ScannedBlock:
        faults: Faults = {}
        options = self._parse_options(block, option_names, faults)
        texts = read_texts(block.extra) if self._voices else None
        voices = read_voices(block.extra) if texts else None
        records = _parse_block(block, self.manifest.folder, faults, options, texts, voices, videos=self.videos)
        for index, record in enumerate(records):
            if record and (found := [*self._find_faults(record)]):
                faults.setdefault(index, []).extend(found)
        _explain_texts(block, faults)
        if self.files:
            self._check_files(self.files, block, records, faults)
        self._check_duplicates(file_index, reader.row_unit, block, records, faults)

        name = safe_text(file)
        problems = [
            Problem(name, reader.row_unit, block.numbers[index], column, safe_text(value), fault.code, fault.sentence)
            for index in sorted(faults)
            for column, value, fault in faults[index]
        ]
        valid = [None if index in faults else record for index, record in enumerate(records)] if faults else records
        return ScannedBlock(block, valid, problems)

    def _parse_options(self, block: RowBlock, names: Sequence[str], faults: Faults) -> list[Options]:
        """Return the options of each row of a block."""
        if not names or self.options is None or block.extra is None:
            return [()] * len(block)
        found: list[list[tuple[str, OptionValue]]] = [[] for _ in range(len(block))]
        for name in names:
            for index, value in enumerate(block.extra.column(name).to_pylist()):
                if value is None or value == "":
                    continue
                try:
                    found[index].append((name, self.options.parse(name, value)))
                except ValueFault as fault:
                    faults.setdefault(index, []).append((name, value, fault))
        return [*map(tuple, found)]

    def _find_faults(self, record: Record) -> Iterator[Fault]:
        """Check a parsed row: its options together, and its voice."""
        try:
            if self.options and record.options:
                self.options.check(record.mode, record.options)
        except ValueFault as fault:
            yield "", "", fault
        try:
            if self._voices and record.text is not None:
                self._voices.check(record.voice)
        except ValueFault as fault:
            yield VOICE, record.voice or "", fault

    def _check_files(
        self, files: MediaFileCheck, block: RowBlock, records: list[Record | None], faults: Faults
    ) -> None:
        located = [
            (index, column, location)
            for index, record in enumerate(records)
            if record
            for column in MEDIA_COLUMNS
            if (location := getattr(record, column)) is not None
        ]
        results = files.check([location for _, _, location in located])
        for (index, column, _), fault in zip(located, results, strict=True):
            if fault:
                faults.setdefault(index, []).append((column, block.columns[column][index], fault))

    def _check_duplicates(
        self, file_index: int, row_unit: str, block: RowBlock, records: list[Record | None], faults: Faults
    ) -> None:
        given = block.columns.get("record_id") or [None] * len(block)
        named: list[tuple[int, str]] = []
        for index, record in enumerate(records):
            record_id = record.id if record else _readable_id(given[index])
            if record_id is not None:
                named.append((index, record_id))

        numbers = self._ids.add([record_id for _, record_id in named])
        for (index, record_id), number in zip(named, numbers, strict=True):
            if number == len(self._first_rows):
                self._first_rows.append(block.numbers[index])
                self._first_files.append(file_index)
                continue

            row, first_file = self._first_rows[number], self._first_files[number]
            first = f"{row_unit} {row}"
            if first_file != file_index:
                first += f" of {self.manifest.files[first_file]}"
            if given[index] in (None, ""):
                fault = ValueFault("duplicate_record", f"same content as {first}: remove it or give both an id")
            else:
                fault = ValueFault("duplicate_record_id", f"already used in {first}: give every row a unique id")
            faults.setdefault(index, []).append(("record_id", record_id, fault))

    def _note_near_misses(self, extras: list[str]) -> None:
        standard = {normalize_name(name): name for name in COLUMN_NAMES}
        for column in extras:
            if name := standard.get(normalize_name(column)):
                self._note([f"column {safe_text(column)} is passed through; rename it if {name} is meant"])

    def _note(self, notes: list[str]) -> None:
        self.summary.notes += [note for note in notes if note not in self.summary.notes]


def _parse_block(
    block: RowBlock,
    folder: str,
    faults: Faults,
    options: Sequence[Options] | None = None,
    texts: Sequence[str | None] | None = None,
    voices: Sequence[str | None] | None = None,
    *,
    videos: bool,
) -> list[Record | None]:
    """Parse each row on its own, with the parsers in `schema`."""
    spoken = [*zip(fill_column(texts, len(block)), fill_column(voices, len(block)), strict=True)]
    absent = [None] * len(block)
    columns = [block.columns.get(name, absent) for name in COLUMN_NAMES]

    records: list[Record | None] = []
    for index, raw in enumerate(zip(*columns, strict=True)):
        bad: list[Fault] = []
        row_fault = block.faults.get(index)
        if row_fault:
            bad.append(("", row_fault.value, ValueFault(row_fault.code, row_fault.sentence)))
            record = None
        else:
            own = options[index] if options else ()
            record = _parse_row(block.numbers[index], raw, folder, bad, own, *spoken[index], videos=videos)
        if bad:
            faults.setdefault(index, []).extend(bad)
        records.append(record)
    return records


def _parse_row(
    number: int,
    raw: tuple[Any, ...],
    folder: str,
    bad: list[Fault],
    options: Options,
    text: str | None,
    voice: str | None,
    *,
    videos: bool,
) -> Record | None:
    values: list[Any] = []
    for column, value in zip(MANIFEST_COLUMNS, raw, strict=True):
        if value is None or value == "":
            values.append(None)
            continue
        try:
            values.append(column.parse(value))
        except ValueFault as fault:
            bad.append((column.name, value, fault))
            values.append(None)

    image, audio, motion, video, record_id, mode, seed, cfg_scale, priority = values
    spoken = text if not any(raw[1:4]) else None
    bad += _missing_inputs(raw, spoken, videos=videos)
    if spoken and len(spoken) > MAX_SPOKEN_CHARACTERS:
        sentence = f"has {len(spoken):,} characters; expected at most {MAX_SPOKEN_CHARACTERS:,}: divide it"
        bad.append((TEXT, spoken, ValueFault("too_long", sentence)))
    if bad:
        return None

    mode = mode or DEFAULT_MODE
    if record_id is None:
        record_id = derive_record_id(
            encode_content(image, audio, motion, mode, seed, cfg_scale, video, options, spoken, spoken and voice)
        )
    image, audio, motion, video = (path and resolve_location(folder, path) for path in (image, audio, motion, video))
    return Record(
        id=record_id,
        image=image,
        audio=audio,
        motion=motion,
        video=video,
        mode=mode,
        given_seed=seed,
        cfg_scale=cfg_scale,
        priority=priority or 0,
        options=options,
        text=spoken,
        voice=voice if spoken else None,
        row=number,
    )


def _missing_inputs(raw: tuple[Any, ...], spoken: str | None, *, videos: bool) -> Iterator[Fault]:
    """Yield the fault of each input that the run needs and a row does not have."""
    image, audio, motion, video = raw[:4]
    if videos:
        if not video:
            yield "video", "", ValueFault("missing_value", "is empty; expected the path or URI of a finished video")
        return
    if not image:
        yield "image", "", ValueFault("missing_value", "is empty; expected a path or URI")
    if not audio and not spoken and not motion:
        yield "audio", "", ValueFault("missing_value", "is empty; expected a path or URI here or in motion")


def _explain_texts(block: RowBlock, faults: Faults) -> None:
    """Replace the fault of a missing recording in rows with a text, because speech is not synthesized."""
    texts = read_texts(block.extra) if faults else None
    if not texts:
        return
    for index, row_faults in faults.items():
        for position, (column, value, fault) in enumerate(row_faults):
            if (column, fault.code) == ("audio", "missing_value") and texts[index]:
                row_faults[position] = (column, value, TEXT_WITHOUT_SOUND)


def _with_schema(file: str, block: RowBlock, schema: pa.Schema) -> pa.Table:
    """Return the passed-through columns of a block with the types of a schema; missing columns are null.

    Raises:
        ManifestError: `manifest_columns`.
    """
    table = block.extra if block.extra is not None else pa.table({})
    columns = []
    for entry in schema:
        if entry.name not in table.column_names:
            columns.append(pa.nulls(len(block), entry.type))
            continue
        column = table.column(entry.name)
        try:
            columns.append(column if column.type == entry.type else column.cast(entry.type))
        except pa.ArrowException as error:
            problem = f"column {safe_text(entry.name)} is {column.type}, and {entry.type} in all files together"
            reason = safe_text(first_line(error), 200)
            sentence = f"{safe_text(file)}: {problem}, which cannot hold its values ({reason}): give it one type"
            raise ManifestError("manifest_columns", sentence) from None
    return pa.table(columns, schema=schema)


def _readable_id(value: Any) -> str | None:
    """Return the id in a row that may have other problems, or None."""
    try:
        return None if value in (None, "") else parse_record_id(value)
    except ValueFault:
        return None
