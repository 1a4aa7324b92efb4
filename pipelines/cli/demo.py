"""`joyvasa demo`: run the whole pipeline on a small manifest."""

from __future__ import annotations

import csv
import io
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from manifests.examples import DEMO
from pipelines.cli.options import local_path, merge_options
from pipelines.cli.progress import run_progress
from pipelines.cli.runs import print_run_result

PAIRS = "pairs.csv"  # manifest of a folder given by --media
BUNDLE = "sample"  # needs no download
N_PORTRAITS = 4  # people that are used of a media folder, besides one animal; less than a minute on two cores

Out = Annotated[
    Path, typer.Option("--out", help="Run folder to create; an unfinished one is resumed.", parser=local_path)
]
ExecutorName = Annotated[
    str, typer.Option("--executor", help="ray, or local to run in this process; ignored when a demo is resumed.")
]
Media = Annotated[
    Path | None,
    typer.Option(
        "--media",
        help="Folder with portraits/, speech/ and perhaps animals/ to use instead of the bundled inputs.",
        parser=local_path,
    ),
]


def demo_command(out: Out = Path("demo"), executor: ExecutorName = "ray", media: Media = None) -> None:
    """Generate videos for a small manifest and write their report, as a check of the installation."""
    from manifests.run.folder import RunFolder
    from manifests.storage import open_storage
    from pipelines.runs.config import RunConfig
    from pipelines.runs.generate import generate_videos
    from pipelines.runs.resume import resume_run

    with run_progress() as on_event:
        if (out / RunFolder.RUN).exists():
            result = resume_run(out, on_event=on_event)
        else:
            config = merge_options(RunConfig, flags={"animation.models": BUNDLE, "executor": executor})
            folder = RunFolder(open_storage(out))
            with folder.write_source(PAIRS, _pair_media(media)) if media else nullcontext(DEMO) as manifest:
                result = generate_videos(manifest, out, config, on_event=on_event)

    typer.echo(f"videos: {out}/shards/00000/videos")
    from pipelines.report.report import write_report  # a second of imports, after which the first video would start

    write_report(str(out))
    typer.echo(f"report: {out}/report/index.html")
    print_run_result(result)


def _pair_media(media: Path) -> bytes:
    """Return a manifest that pairs the first portraits and the first animal of a folder with its shortest recording."""
    from joyvasa.media.audio import probe_audio

    audio = min(_list_files(media / "speech"), key=lambda file: probe_audio(file).n_samples)
    animals = _list_files(media / "animals")[:1] if (media / "animals").is_dir() else []
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["record_id", "image", "audio", "mode"])
    for mode, images in (("human", _list_files(media / "portraits")[:N_PORTRAITS]), ("animal", animals)):
        for image in images:
            writer.writerow([f"{image.stem}-{audio.stem}", image, audio, mode])
    return text.getvalue().encode()


def _list_files(folder: Path) -> list[Path]:
    """Return the files of a folder, sorted by name."""
    files = sorted(path.resolve() for path in folder.glob("*") if path.is_file() and not path.name.startswith("."))
    if not files:
        raise typer.BadParameter(f"{folder}: no files; expected some to pair", param_hint="--media")
    return files
