"""Recordings cut into pieces: sound files in a folder next to the table of pairs.

Pieces are files because every stage, metric and export reads whole recordings: columns with start and end would have
to be known to all of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pyarrow as pa

from joyvasa.errors import InputError
from joyvasa.runtime.locations import open_filesystem
from joyvasa.runtime.parsing import parse_json
from manifests.media_lists import MediaList
from manifests.pair_table import get_written_path
from manifests.problems import ManifestError, safe_text
from manifests.storage import Storage

INDEX = "index.json"  # written last: without it the pieces of a recording are incomplete
PIECE_COLUMNS = ("audio_source", "audio_start_s", "audio_end_s")

OpenPiece = Callable[[int], AbstractContextManager[Path]]
"""Opens the file of a piece, by its number: yields a local path to write."""


CutRecording = Callable[[str, OpenPiece], list[tuple[float, float]] | None]
"""Cuts the recording at a location at pauses and writes its pieces; raises `InputError` if it cannot be used.

Returns start and end of each piece in seconds; None if the whole recording is a piece, and nothing was written.
"""


@dataclass(frozen=True)
class CutIndex:
    """Content of the index of a recording's pieces."""

    source: str  # state of the recording: its size, time of change and so on, see fsspec's `ukey`
    # min_s, max_s: minimum and maximum duration of a piece, seconds
    min_s: float
    max_s: float
    whole: bool  # whether the whole recording is used, without a file of its own
    pieces: list[list[float]]  # start and end of each piece, seconds


@dataclass(frozen=True, slots=True)
class _Piece:
    row: int  # index of the recording
    location: str
    name: str
    start_s: float | None  # None for a whole recording
    end_s: float | None


@dataclass(frozen=True)
class PieceFolder:
    """The pieces of recordings: `<name>/00000.wav` and so on, with an index per recording.

    Complete recordings are not cut again, unless they or the durations have changed.
    """

    storage: Storage  # folder of the table of pairs
    folder: str  # name of the folder of pieces
    cut: CutRecording  # function that cuts a recording
    min_s: float  # minimum duration of a piece, seconds
    max_s: float  # maximum duration of a piece, seconds

    def cut_all(
        self, audio: MediaList, *, on_progress: Callable[[int], None] | None = None
    ) -> tuple[MediaList, list[str]]:
        """Cut all recordings, several at once, and return the list of pieces.

        Pieces have the columns of their recording, its location, start and end; the column `text` is null, because the
        words belong to the whole recording.

        Returns:
            Pieces, and a sentence for each recording that cannot be used.

        Raises:
            ManifestError: `pieces_none` or `output_unwritable`.
        """
        pieces: list[_Piece] = []
        problems: list[str] = []
        n_unused = 0
        is_archive = any("::" in location for location in audio.locations)  # readers of archives have one position
        with ThreadPoolExecutor(1 if is_archive else os.cpu_count(), thread_name_prefix="cut") as pool:
            for row, result in enumerate(pool.map(lambda row: self._cut_one(audio, row), range(len(audio)))):
                if isinstance(result, str):
                    problems.append(result)
                else:
                    n_unused += not (result.whole or result.pieces)
                    pieces += self._list_pieces(audio, row, result)
                if on_progress:
                    on_progress(row + 1)

        if not pieces:
            reason = problems[0] if problems else f"no recording gives pieces of {self.min_s:g} to {self.max_s:g} s"
            sentence = f"{safe_text(audio.source, 200)}: {reason}; expected speech of that length"
            raise ManifestError("pieces_none", f"{sentence}: choose other durations or recordings")
        note = f"left out recordings that are silent or shorter than {self.min_s:g} s: {n_unused:,}"
        return self._build_list(audio, pieces, [note] if n_unused else []), problems

    def _cut_one(self, audio: MediaList, row: int) -> CutIndex | str:
        """Cut a recording if necessary; return its index, or the reason why it cannot be used."""
        location, folder = audio.locations[row], f"{self.folder}/{audio.names[row]}"
        try:
            fs, path = open_filesystem(location)
            state = str(fs.ukey(path))
        except OSError as error:
            return f"file_unreadable: {safe_text(location, 200)}: cannot be looked up ({error}): check access to it"
        index = self._read_index(f"{folder}/{INDEX}")
        if index and (index.source, index.min_s, index.max_s) == (state, self.min_s, self.max_s):
            return index

        self.storage.remove(folder)
        try:
            pieces = self.cut(location, lambda number: self.storage.staging(f"{folder}/{_piece_file(number)}"))
        except InputError as error:
            self.storage.remove(folder)
            return str(error)
        spans = [[*span] for span in pieces or ()]
        index = CutIndex(state, self.min_s, self.max_s, pieces is None, spans)
        self.storage.write(f"{folder}/{INDEX}", json.dumps(asdict(index)).encode())
        return index

    def _read_index(self, path: str) -> CutIndex | None:
        try:
            return CutIndex(**parse_json(self.storage.read(path)))
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return None

    def _list_pieces(self, audio: MediaList, row: int, index: CutIndex) -> Iterator[_Piece]:
        name = audio.names[row]
        if index.whole:
            yield _Piece(row, audio.locations[row], name, None, None)
            return
        for number, (start_s, end_s) in enumerate(index.pieces):
            location = self.storage.location(f"{self.folder}/{name}/{_piece_file(number)}")
            yield _Piece(row, location, f"{name}.{number:05d}", start_s, end_s)

    def _build_list(self, audio: MediaList, pieces: Sequence[_Piece], notes: Sequence[str]) -> MediaList:
        recordings = audio.take([piece.row for piece in pieces])
        table = recordings.columns
        columns = {name: table.column(name) for name in table.column_names if name not in PIECE_COLUMNS}
        if "text" in columns:
            texts = zip(columns["text"].to_pylist(), pieces, strict=True)
            texts = [text if piece.start_s is None else None for text, piece in texts]
            columns["text"] = pa.array(texts, columns["text"].type)
        columns["audio_source"] = pa.array(
            [get_written_path(location, self.storage) for location in recordings.locations], pa.string()
        )
        columns["audio_start_s"] = pa.array([piece.start_s for piece in pieces], pa.float64())
        columns["audio_end_s"] = pa.array([piece.end_s for piece in pieces], pa.float64())
        return replace(
            recordings,
            locations=[piece.location for piece in pieces],
            names=[piece.name for piece in pieces],
            columns=pa.table(columns),
            notes=(*audio.notes, *notes),
        )


def _piece_file(number: int) -> str:
    return f"{number:05d}.wav"
