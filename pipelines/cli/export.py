"""`joyvasa export` and `joyvasa report`: write the videos of a run as a data set, or a page and tables about them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from pipelines.cli.options import AsJson, Run, print_json
from pipelines.cli.progress import ProgressDisplay

Source = Annotated[
    str,
    typer.Argument(metavar="RUN|SELECTION", help="Run folder, or Parquet file of joyvasa select; a path or URI."),
]
DataSetFolder = Annotated[
    str, typer.Option("--out", help="Folder of the data set; a path or URI.", metavar="DEST", show_default=False)
]
Format = Annotated[str, typer.Option("--format", help="webdataset, parquet or folder.")]
Media = Annotated[str, typer.Option("--media", help="How parquet exports store videos: embed or files.")]
ShardSize = Annotated[str, typer.Option("--shard-size", help="Size at which a shard ends; records are not divided.")]
Inputs = Annotated[
    bool | None,
    typer.Option(
        "--inputs/--no-inputs",
        help="Include portraits and recordings (default: in parquet and folder; not possible in webdataset).",
        show_default=False,
    ),
]
AcceptLicenses = Annotated[
    bool, typer.Option("--accept-licenses", help="Export even if a license is restrictive, unclear or not stated.")
]
License = Annotated[
    str | None,
    typer.Option("--license", help="License of the data set on the hub, such as cc-by-4.0 (default: see the rows)."),
]
Push = Annotated[
    str | None, typer.Option("--push", help="Upload to this data set of the Hugging Face hub.", metavar="OWNER/NAME")
]
Public = Annotated[bool, typer.Option("--public", help="Make the repository created by --push public.")]


def export_command(
    source: Source,
    out: DataSetFolder,
    format: Format = "webdataset",
    media: Media = "embed",
    shard_size: ShardSize = "1GB",
    inputs: Inputs = None,
    accept_licenses: AcceptLicenses = False,
    license: License = None,
    push: Push = None,
    public: Public = False,
    as_json: AsJson = False,
) -> None:
    """Export the videos of a run or a selection as a data set that `datasets` and WebDataset load.

    An interrupted export continues where it stopped; a second one writes identical files.
    """
    from pipelines.runs.export.config import ExportConfig, check_repository, parse_size
    from pipelines.runs.export.export import export_dataset

    config = ExportConfig(
        format=format,  # type: ignore[arg-type]  # checked there
        media=media,  # type: ignore[arg-type]
        shard_bytes=parse_size(shard_size),
        inputs=inputs,
        accept_licenses=accept_licenses,
        license=license,
        publish=push is not None,
    )
    if push is not None:
        check_repository(push)
    with ProgressDisplay() as progress:

        def print_note(note: str) -> None:
            progress.print_line(f"note: {note}")

        result = export_dataset(source, out, config, on_note=print_note, on_progress=progress.update)
        url = None
        if push is not None:
            from pipelines.runs.export.push import push_dataset

            url = push_dataset(out, push, public=public, on_progress=progress.update)

    if as_json:
        print_json({**asdict(result), "url": url})
        return
    splits = ", ".join(f"{name} {count:,}" for name, count in result.splits.items())
    hours, kept = result.duration_s / 3600, f", {result.kept:,} of them kept" if result.kept else ""
    typer.echo(
        f"{result.folder}: {result.records:,} records ({splits}), {hours:,.2f} hours, {result.bytes:,} bytes of video, "
        f"{result.shards:,} shard{'' if result.shards == 1 else 's'}{kept}"
    )
    if url:
        typer.echo(url)


Compare = Annotated[
    list[str] | None,
    typer.Option("--compare", metavar="RUN", help="Run folder to compare with; may be repeated."),
]


def report_command(run: Run, compare: Compare = None, as_json: AsJson = False) -> None:
    """Write a report of a finished or unfinished run: an HTML page, and its figures as CSV and Parquet."""
    from pipelines.report.report import write_report

    with ProgressDisplay() as progress:
        files = write_report(run, compare or (), on_progress=progress.update)
    if as_json:
        print_json(asdict(files))
        return
    for path in asdict(files).values():
        typer.echo(path)
