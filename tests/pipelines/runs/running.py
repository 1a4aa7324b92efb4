"""Small runs, and what came of them."""

import csv
from pathlib import Path

import numpy as np

from joyvasa.config import load_config
from joyvasa.motion.file import load_motion
from manifests.run.folder import RunFolder
from manifests.storage import open_storage
from pipelines.runs.config import RunConfig

COLUMNS = ("record_id", "image", "audio", "motion", "mode", "seed", "note")


def configured(*settings: str) -> RunConfig:
    """In this process, with the built-in model and small pictures."""
    given = ["executor=local", "animation.models=sample", "animation.picture.max_side=192", "shard_size=3"]
    given += ["metrics=none"]  # tests/pipelines/runs/test_evaluate.py and tests/stages/test_score.py look at them
    return load_config(RunConfig, settings=[*given, *settings])


def write_manifest(path: Path, rows: list[dict]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def rows_of(run: Path) -> dict[str, dict]:
    return {
        row["record_id"]: row for table in RunFolder(open_storage(run)).iterate_tables() for row in table.to_pylist()
    }


def motions_of(run: Path) -> dict[str, np.ndarray]:
    return {name: load_motion(run / row["motion_file"]).motion.expression.numpy() for name, row in rows_of(run).items()}
