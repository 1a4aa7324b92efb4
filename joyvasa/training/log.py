"""The log of a training run: numbers of every step, as Parquet files and for TensorBoard."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from joyvasa.errors import EnvironmentFault, InputError, first_line
from joyvasa.training.file_store import FileStore

FOLDER, BOARD = "log", "tensorboard"
REQUIRED = {"step", "loss", "validation_loss", "samples_per_s", "compute_share"}  # columns that readers expect


class TrainingLog:
    """Writer of the log; `flush` writes the rows since the previous one as a file.

    Args:
        files: file store of the run.
        first_step: number of finished steps; rows of later steps, whose weights were lost, are removed.
        tensorboard: whether to write for TensorBoard too, if the run is a local folder.

    Raises:
        EnvironmentFault: `tensorboard_missing`.
    """

    def __init__(self, files: FileStore, *, first_step: int, tensorboard: bool) -> None:
        self.files = files
        for name, last in _list_parts(files):
            if last > first_step:
                files.remove(f"{FOLDER}/{name}")

        self._rows: list[dict[str, Any]] = []
        self._board: Any = None
        if tensorboard and files.local:
            try:
                from tensorboardX import SummaryWriter
            except ImportError:
                raise EnvironmentFault(
                    "tensorboard_missing",
                    "TensorBoard's writer is not installed; expected the package tensorboardX: pip install "
                    "'joyvasa[train]', or train with --set checkpoints.tensorboard=false",
                ) from None
            self._board = SummaryWriter(files.location(BOARD), purge_step=first_step + 1)

    def add(self, step: int, values: Mapping[str, float | None]) -> None:
        """Add the numbers of a step, counted from 1; None for a number that was not measured."""
        self._rows.append({"step": step, **values})
        if self._board:
            for name, value in values.items():
                if value is not None:
                    self._board.add_scalar(name, value, step)

    def flush(self) -> None:
        """Write the rows."""
        if self._rows:
            last = self._rows[-1]["step"]
            numbers = [(name, pa.float64()) for name in self._rows[0] if name != "step"]
            table = pa.Table.from_pylist(self._rows, pa.schema([("step", pa.int64()), *numbers]))
            with self.files.staging(f"{FOLDER}/{last:08d}.parquet") as path:
                pq.write_table(table, path)
            self._rows = []
        if self._board:
            self._board.flush()

    def close(self) -> None:
        """Close the log; rows that were not flushed are dropped."""
        if self._board:
            self._board.close()


def read_log(files: FileStore) -> pa.Table:
    """Read all rows of a run, ordered by step.

    Raises:
        InputError: `log_unreadable`.
    """
    tables = [_read_part(files, f"{FOLDER}/{name}") for name, _ in _list_parts(files)]
    return pa.concat_tables(tables, promote_options="default") if tables else pa.table({})


def _read_part(files: FileStore, path: str) -> pa.Table:
    try:
        with files.open(path) as stream:
            table = pq.read_table(stream)
        kinds = {entry.name: entry.type for entry in table.schema}
        if any(kind != (pa.int64() if name == "step" else pa.float64()) for name, kind in kinds.items()):
            raise ValueError("columns are no numbers")
        if missing := REQUIRED - kinds.keys():
            raise ValueError(f"column {min(missing)} is missing")
        return table
    except (pa.ArrowException, OSError, ValueError) as error:
        sentence = f"{files.location(path)}: cannot be read ({first_line(error)}); expected a log: restore or remove it"
        raise InputError("log_unreadable", sentence) from None


def _list_parts(files: FileStore) -> list[tuple[str, int]]:
    """Return the files of the log with their last steps, in order."""
    matches = (re.fullmatch(r"(\d{8,})\.parquet", name) for name in files.names(FOLDER))
    return sorted(((match[0], int(match[1])) for match in matches if match), key=lambda part: part[1])
