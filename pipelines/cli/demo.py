"""`joyvasa demo`: portraits speak; shows that the whole pipeline works."""

from __future__ import annotations

import csv
from itertools import product
from pathlib import Path
from typing import Annotated

import typer

from manifests.examples import PAIRS
from pipelines.cli.options import merge_options
from pipelines.cli.progress import run_progress
from pipelines.cli.runs import print_result

BUNDLE = "sample"  # needs no download
N_PORTRAITS, N_RECORDINGS = 4, 2  # of a media folder: a minute on two cores

Out = Annotated[Path, typer.Option("--out", help="Run folder to make; an unfinished one is resumed.")]
ExecutorName = Annotated[
    str, typer.Option("--executor", help="ray, or local for in this process; a demo that is resumed keeps its own.")
]
Media = Annotated[
    Path | None,
    typer.Option("--media", help="Folder with portraits/ and speech/ to use in the place of the bundled inputs."),
]


def demo(out: Out = Path("demo"), executor: ExecutorName = "ray", media: Media = None) -> None:
    """Run a small manifest to the end: the bundled one, four portraits with two recordings each, or your media."""
    from manifests.run.folder import RunFolder
    from pipelines.report.report import write_report
    from pipelines.runs.config import RunConfig
    from pipelines.runs.generate import generate
    from pipelines.runs.resume import resume

    with run_progress() as listener:
        if (out / RunFolder.RUN).exists():
            result = resume(out, listener=listener)
        else:
            manifest = _write_pairs(media, out / "pairs.csv") if media else PAIRS
            config = merge_options(RunConfig, flags={"animation.models": BUNDLE, "executor": executor})
            result = generate(manifest, out, config, listener=listener)
    typer.echo(f"videos: {out}/shards/00000/videos")
    write_report(str(out))
    typer.echo(f"report: {out}/report/index.html")
    print_result(result)


def _write_pairs(media: Path, path: Path) -> Path:
    """A manifest of the first portraits with the shortest recordings of a media folder."""
    from joyvasa.media.audio import probe_audio

    portraits = _files(media / "portraits")[:N_PORTRAITS]
    recordings = sorted(_files(media / "speech"), key=lambda file: probe_audio(file).n_samples)[:N_RECORDINGS]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["record_id", "image", "audio"])
        for image, audio in product(portraits, recordings):
            writer.writerow([f"{image.stem}-{audio.stem}", image, audio])
    return path


def _files(folder: Path) -> list[Path]:
    """The files of a folder by name."""
    files = sorted(path.resolve() for path in folder.glob("*") if path.is_file() and not path.name.startswith("."))
    if not files:
        raise typer.BadParameter(f"{folder}: no files; expected some to pair", param_hint="--media")
    return files
