"""`joyvasa prepare`: recordings become a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import AsJson, ConfigFile, Executor, Models, Settings, merge_options
from pipelines.cli.progress import run_progress
from pipelines.cli.runs import print_result

if TYPE_CHECKING:
    from pipelines.runs.dataset_join import Prepared

Videos = Annotated[
    str,
    typer.Argument(metavar="VIDEOS", help="A folder, a glob, or a manifest with a column video; a path or URI."),
]
Out = Annotated[str, typer.Option("--out", help="Folder of the data set to make; a path or URI.", show_default=False)]


def prepare(
    videos: Videos,
    out: Out,
    models: Models = None,
    executor: Executor = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Make a data set for training of talking videos. Exit code 3 if some gave no clip."""
    from pipelines.runs.config import RunConfig
    from pipelines.runs.prepare import prepare as prepare_dataset

    flags = {"animation.models": models, "executor": executor}
    resolved = merge_options(RunConfig, config=config, settings=settings, flags=flags)
    with run_progress() as listener:
        result, prepared = prepare_dataset(videos, out, resolved, listener=listener)
    if not as_json:
        print_dataset(out, prepared)
    print_result(result, as_json=as_json)


def print_dataset(out: str, prepared: Prepared) -> None:
    """Print the size of a data set, and what was left out."""
    card, tally = prepared.card, prepared.tally
    clips = ", ".join(f"{count:,} {split}" for split, count in card.clips.items())
    typer.echo(f"{out}: {clips} clips, {card.hours:.3f} hours")
    for code, count in tally.rejected.most_common():
        typer.echo(f"  left out: {count:,} {code}, {tally.rejected_s[code] / 60:.1f} minutes")
