"""Small runs that score existing videos."""

import csv
from pathlib import Path

from joyvasa.config import load_config
from pipelines.runs.config import RunConfig
from pipelines.runs.generate import generate_videos

COLUMNS = ("record_id", "video", "audio", "image", "city")


def make_config(*settings: str) -> RunConfig:
    return load_config(RunConfig, settings=["executor=local", "shard_size=3", "stages.score.batch_size=1", *settings])


def write_video_manifest(folder: Path, rows: list[dict], name: str = "videos.csv") -> Path:
    with (folder / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return folder / name


def generate_run(pairs: str | Path, run: str | Path) -> None:
    """Run a manifest of pairs."""
    settings = ("animation.device=cpu", "animation.picture.max_side=128")
    generate_videos(pairs, run, make_config(*settings, "stages.render.batch_size=1"))
