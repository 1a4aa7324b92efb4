"""`joyvasa prepare`: build a data set from recordings."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.options import AsJson, ConfigFile, Executor, Models, Settings, merge_options
from pipelines.cli.progress import run_progress
from pipelines.cli.runs import print_run_result

Videos = Annotated[
    str,
    typer.Argument(metavar="VIDEOS", help="Folder, glob, or manifest with a column `video`; a path or URI."),
]
Out = Annotated[str, typer.Option("--out", help="Data set folder to create; a path or URI.", show_default=False)]


def prepare_command(
    videos: Videos,
    out: Out,
    models: Models = None,
    executor: Executor = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Build a training data set from videos of speakers. Exits with 3 if some videos have no usable clip."""
    from pipelines.runs.config import RunConfig
    from pipelines.runs.prepare import prepare_dataset

    flags = {"animation.models": models, "executor": executor}
    resolved = merge_options(RunConfig, config=config, settings=settings, flags=flags)
    with run_progress() as on_event:
        result, prepared = prepare_dataset(videos, out, resolved, on_event=on_event)
    if not as_json:
        card, stats = prepared.card, prepared.stats
        clips = ", ".join(f"{count:,} {split}" for split, count in card.clips.items())
        typer.echo(f"{out}: {clips} clips, {card.hours:.3f} hours")
        for code, count in stats.rejected.most_common():
            typer.echo(f"  rejected: {count:,} {code}, {stats.rejected_s[code] / 60:.1f} minutes")
    print_run_result(result, as_json=as_json)
