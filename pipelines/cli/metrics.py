"""`joyvasa metrics`: list the metrics and their requirements."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from pipelines.cli.options import AsJson, print_json
from pipelines.cli.progress import build_console

if TYPE_CHECKING:
    from joyvasa.bundles import Bundle

app = typer.Typer(no_args_is_help=True)

MetricModels = Annotated[
    str, typer.Option("--models", help="Name or folder of the bundle with the weights of metrics.", metavar="BUNDLE")
]


@app.callback()
def _group() -> None:
    """List the metrics of videos."""


@app.command("list")
def list_metrics_command(models: MetricModels = "metrics", as_json: AsJson = False) -> None:
    """List all metrics with their columns, required weights and licenses, and whether they are available."""
    from joyvasa.bundles import open_bundle

    rows = _list_rows(open_bundle(models))
    if as_json:
        print_json(rows)
        return
    console = build_console()
    for row in rows:
        state = "available" if row["available"] else row["reason"]
        console.print(Text.assemble((row["name"], "bold"), f": {state}"), soft_wrap=True)
        for column in row["columns"]:
            unit = f", {column['unit']}" if column["unit"] else ""
            better = f", {column['better']} is better" if column["better"] else ""
            text = f"  {column['name']}{unit}{better}: {column['measures']}"
            console.print(text, soft_wrap=True)
        needs = ", ".join([*row["roles"], *filter(None, [row["needs"]])]) or "nothing but the video"
        license = row["license"] or "no weights, so no license"
        console.print(f"  needs {needs}; {license}", soft_wrap=True)


def _list_rows(bundle: Bundle) -> list[dict[str, Any]]:
    """Return a row of plain values for each metric, with the weights of a bundle."""
    from joyvasa.metrics import METRIC_NAMES, build_metric, check_availability

    rows = []
    for metric in map(build_metric, METRIC_NAMES):
        reason = check_availability(metric, bundle)
        described = {"name": metric.name, "measures": " ".join((type(metric).__doc__ or "").split("\n\n")[0].split())}
        described |= {"columns": [asdict(column) for column in metric.columns], "needs": metric.needs}
        described |= {"roles": list(metric.roles), "license": metric.license}
        rows.append({**described, "available": reason is None, "reason": reason.sentence if reason else None})
    return rows
