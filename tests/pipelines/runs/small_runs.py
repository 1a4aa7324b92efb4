"""Configurations of small runs, their manifests and their outcomes."""

import csv
from pathlib import Path

import cv2
import numpy as np

from joyvasa.config import load_config
from joyvasa.motion.file import load_motion
from manifests.run.folder import RunFolder
from manifests.storage import open_storage
from pipelines.runs.config import RunConfig
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
    return {
        row["record_id"]: row for table in RunFolder(open_storage(run)).iterate_tables() for row in table.to_pylist()
    }


def read_motions(run: Path) -> dict[str, np.ndarray]:
    return {
        name: load_motion(run / row["motion_file"]).motion.expression.numpy() for name, row in read_rows(run).items()
    }
