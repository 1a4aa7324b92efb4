"""A report: everything that its page and its tables show."""

from __future__ import annotations

from dataclasses import dataclass

from joyvasa.metrics.base import MetricColumn
from manifests.run.description import RunDescription
from pipelines.report.comparison import Comparison, PublishedTable
from pipelines.report.failures import FailureFigure, FailureGroup
from pipelines.report.headline import Headline
from pipelines.report.metrics import MetricFigures
from pipelines.report.plots import Plot
from pipelines.report.provenance import Provenance
from pipelines.report.records import RecordView
from pipelines.report.sets import SetFigure
from pipelines.report.statistics import Summary


@dataclass(frozen=True)
class Report:
    """Everything that the page shows.

    Args:
        name: of the run.
        description: of the run.
        headline: a dozen figures.
        metrics: of the videos.
        plots: of metrics, by column; those without numbers have none.
        views: the records that are named, by the places of their rows.
        sheets: frames of their videos, JPEG files, the most important ones first.
        failures, warnings: by code.
        sets: metrics of the run as a whole.
        comparisons: with other runs.
        published: tables of the paper.
        provenance: where it all comes from.
    """

    name: str
    description: RunDescription
    headline: Headline
    metrics: list[MetricFigures]
    plots: dict[str, Plot]
    views: dict[int, RecordView]
    sheets: dict[int, bytes]
    failures: list[FailureFigure]
    warnings: list[FailureGroup]
    sets: list[SetFigure]
    comparisons: list[Comparison]
    published: list[PublishedTable]
    provenance: Provenance

    @property
    def run_names(self) -> list[str]:
        """This run and those beside it."""
        return [self.name, *(other.name for other in self.comparisons)]

    @property
    def side_by_side(self) -> list[tuple[MetricColumn, list[Summary]]]:
        """Each metric that a run has numbers of, by run."""
        known = {pair.column.name: pair.column for other in self.comparisons for pair in other.pairs}
        ours = {one.column.name: one.summary for one in self.metrics}
        theirs = [{pair.column.name: pair.theirs for pair in other.pairs} for other in self.comparisons]
        return [(column, [run.get(name, Summary()) for run in (ours, *theirs)]) for name, column in known.items()]
