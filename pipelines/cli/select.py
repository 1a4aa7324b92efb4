"""`joyvasa select`: select rows of finished runs, and say what each criterion costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from pipelines.cli.options import AsJson, print_json
from pipelines.cli.progress import ProgressDisplay

if TYPE_CHECKING:
    from pipelines.runs.selection.selection import Selection

N = TypeVar("N", int, float)
RULES = {
    "groups": "rows that share a value are in one split",
    "values": "more than half of the rows are connected: each value has its split, and rows between splits are dropped",
}

Runs = Annotated[list[str], typer.Argument(metavar="RUN...", help="Run folders; paths or URIs.")]
Output = Annotated[
    str | None,
    typer.Option("-o", "--out", metavar="FILE", help="Parquet file to write; without it, only counts are printed."),
]
Where = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="EXPR", help='Condition, such as "sync_c >= 3 and frames > 50"; may be repeated.'),
]
Statuses = Annotated[
    list[str] | None,
    typer.Option("--status", help="Status of rows to select from (default: ok); may be repeated."),
]
Split = Annotated[
    str | None,
    typer.Option("--split", metavar="NAME=SHARE,...", help="Splits, such as train=0.9,val=0.05,test=0.05."),
]
Disjoint = Annotated[
    str | None,
    typer.Option(
        "--disjoint",
        metavar="COLUMN,...",
        help="Columns whose values must not be shared across splits, such as portrait,voice (default: portrait).",
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the splits.")]
Distinct = Annotated[
    bool,
    typer.Option(
        "--distinct", help="Select one of several rows with the same portrait, or nearly, audio, motion and seed."
    ),
]
Per = Annotated[
    list[str] | None,
    typer.Option("--per", metavar="COLUMN=N", help="Select at most N rows per value of a column; may be repeated."),
]
Top = Annotated[int | None, typer.Option("--top", min=1, help="Select N rows at most, the best by --by.")]
By = Annotated[
    str | None,
    typer.Option("--by", metavar="COLUMN[:asc]", help="Prefer rows with high values, or low ones with :asc."),
]


def select_command(
    runs: Runs,
    out: Output = None,
    where: Where = None,
    status: Statuses = None,
    split: Split = None,
    disjoint: Disjoint = None,
    seed: Seed = 0,
    distinct: Distinct = False,
    per: Per = None,
    top: Top = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Select rows of runs by conditions, ranks and limits, and divide them into splits for training."""
    from pipelines.runs.selection.options import PORTRAIT, SelectionOptions
    from pipelines.runs.selection.selection import select_rows
    from pipelines.runs.selection.selection_files import check_selection_path, write_selection

    if disjoint is not None and split is None:
        raise typer.BadParameter("only allowed with --split", param_hint="--disjoint")
    column, _, direction = (by or "").rpartition(":")
    if direction not in ("asc", "desc"):
        column, direction = by, "desc"
    options = SelectionOptions(
        statuses=tuple(status or ("ok",)),
        where=tuple(where or ()),
        split={
            name: _number(share, "--split", float)
            for name, share in _pairs(() if split is None else split.split(","), "--split")
        },
        disjoint=tuple(filter(None, (PORTRAIT if disjoint is None else disjoint).split(","))),
        seed=seed,
        distinct=distinct,
        per={name: _number(limit, "--per", int) for name, limit in _pairs(per or (), "--per")},
        top=top,
        by=column,
        ascending=direction == "asc",
    )
    if out is not None:
        check_selection_path(out, runs)

    with ProgressDisplay(enabled=not as_json) as progress:
        selection = select_rows(runs, options, on_rows=lambda rows: progress.update("rows read", rows))
        total = len(selection.candidates.codes)
        if not as_json:
            _print_counts(selection)
        files: tuple[str, ...] = ()
        if out:
            files = write_selection(
                selection, out, [*options.split], on_rows=lambda rows: progress.update("rows written", rows, total)
            )
    if as_json:
        names = dict(zip(("selection", "rejected"), files, strict=False))
        print_json({**selection.as_dict(), "files": names})
    for file in () if as_json else files:
        typer.echo(file)


def _pairs(texts: Sequence[str], option: str) -> list[tuple[str, str]]:
    """Split texts at the last `=`; names of columns may contain others."""
    pairs = []
    for text in texts:
        name, equals, value = text.rpartition("=")
        if not equals or not name.strip():
            raise typer.BadParameter(f"{text!r}: expected NAME=NUMBER", param_hint=option)
        if name.strip() in dict(pairs):
            raise typer.BadParameter(f"{name.strip()} is given twice; expected different names", param_hint=option)
        pairs.append((name.strip(), value))
    return pairs


def _number(text: str, option: str, kind: type[N]) -> N:
    try:
        return kind(text)
    except ValueError:
        expected = "a whole number" if kind is int else "a number"
        raise typer.BadParameter(f"{text!r}: expected {expected}", param_hint=option) from None


def _print_counts(selection: Selection) -> None:
    """Print what each criterion costs, and the size of the splits."""
    rows = [("criterion", "rows", "dropped", "no value")]
    for one in selection.criteria.applied:
        rows.append((one.label, f"{one.before:,}", f"{one.dropped:,}", f"{one.missing:,}" if one.missing else ""))
    rows.append(("selected", f"{selection.selected:,}", "", ""))
    _print_table(rows)

    if selection.split:
        columns = [*selection.counts[0].values]
        rows = [("split", "rows", "share", *columns)]
        for count in selection.counts:
            share = f"{count.rows / selection.selected:.1%}" if selection.selected else ""
            rows.append((count.name, f"{count.rows:,}", share, *(f"{count.values[name]:,}" for name in columns)))
        typer.echo("")
        _print_table(rows)
        typer.echo(RULES[selection.split.rule])
        for count in selection.counts:
            if not count.rows and selection.selected:
                typer.echo(f"note: split {count.name} is empty: use larger shares, more values, or another --seed")
    for run, unfinished in zip(selection.tables.runs, selection.tables.unfinished, strict=True):
        if unfinished:
            typer.echo(f"note: {run}: {unfinished:,} shards are not finished; their rows are not included", err=True)


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(text.rjust(width) for text, width in zip(others, widths[1:], strict=True))]
        typer.echo("  ".join(cells).rstrip())
