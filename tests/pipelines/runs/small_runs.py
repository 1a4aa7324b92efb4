"""Configurations of small runs, their manifests and their outcomes."""

import contextlib
import csv
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from joyvasa.config import load_config
from joyvasa.motion.file import load_motion
from joyvasa.runtime.result_tables import find_finished_tables, read_table
from manifests.record import Record
from manifests.run.outcome import RecordOutcome
from pipelines.engine.interrupts import RunInterrupted
from pipelines.runs.config import RunConfig
from pipelines.runs.shard_writer import ShardWriter
from tests.media import EXAMPLES, ffmpeg

COLUMNS = ("record_id", "image", "audio", "motion", "mode", "seed", "note")

# The built-in model, small pictures and few steps.
SMALL = (
    "animation.models=sample",
    "animation.picture.max_side=192",
    "animation.sampling.sampler=ddim",
    "animation.sampling.steps=8",
)


def make_config(*settings: str) -> RunConfig:
    """Return options for the local executor, the built-in model, small pictures and few steps, without metrics."""
    defaults = [*SMALL, "executor=local", "shard_size=3"]
    defaults += ["metrics=none"]  # tested in tests/pipelines/runs/test_evaluate.py and tests/stages/test_score.py
    return load_config(RunConfig, settings=[*defaults, *settings])


@contextlib.contextmanager
def interrupted_after(n_records: int) -> Iterator[list[RecordOutcome]]:
    """Interrupt a run after a number of outcomes, which are yielded as they are recorded."""
    record_outcome, outcomes = ShardWriter.record_outcome, []

    def interrupt(writer: ShardWriter, record: Record, outcome: RecordOutcome) -> None:
        record_outcome(writer, record, outcome)
        outcomes.append(outcome)
        if len(outcomes) == n_records:
            raise RunInterrupted("interrupted", "by the test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ShardWriter, "record_outcome", interrupt)
        with pytest.raises(RunInterrupted):
            yield outcomes


def write_manifest(path: Path, rows: list[dict]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_example_pairs(folder: Path, *, n_rows: int, side: int, seconds: float) -> Path:
    """Write the first rows of the bundled manifest, with smaller pictures and a part of each recording.

    Args:
        folder: where the manifest and its files are written.
        n_rows: number of rows.
        side: width and height of the pictures, pixels.
        seconds: length of the recordings, after their first second.

    Returns:
        The manifest.
    """
    with (EXAMPLES / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))[:n_rows]
    for name in {row["image"] for row in rows}:
        cv2.imwrite(str(folder / name), cv2.resize(cv2.imread(str(EXAMPLES / name)), (side, side)))
    for name in {row["audio"] for row in rows}:
        ffmpeg("-ss", 1, "-t", seconds, "-i", EXAMPLES / name, folder / name)
    with (folder / "pairs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "pairs.csv"


def read_rows(run: Path) -> dict[str, dict]:
    return {row["record_id"]: row for row in read_table(find_finished_tables(run)).to_pylist()}


def read_motions(run: Path) -> dict[str, np.ndarray]:
    return {
        name: load_motion(run / row["motion_file"]).motion.expression.numpy() for name, row in read_rows(run).items()
    }
