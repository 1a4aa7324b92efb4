"""The content of a report, from which its page and its tables are written."""

from __future__ import annotations

from dataclasses import dataclass

from joyvasa.metrics.base import MetricColumn
from joyvasa.metrics.weights import MetricWeights
from manifests.run.description import RunDescription
from pipelines.report.comparison import Comparison, PublishedTable
from pipelines.report.failures import FailureFigure, FailureGroup
from pipelines.report.gallery import GalleryData
from pipelines.report.headline import Headline
from pipelines.report.metrics import MetricFigures
from pipelines.report.plots import Plot
from pipelines.report.provenance import Provenance
from pipelines.report.records import RecordView
from pipelines.report.sets import SetFigure
from pipelines.report.statistics import Summary
from pipelines.report.verdict import Verdict


@dataclass(frozen=True)
class Report:
    """The content of a report."""

    name: str  # name of the run
    description: RunDescription  # content of `run.yaml`
    headline: Headline  # key figures
    metrics: list[MetricFigures]  # figures of the metrics of the videos
    plots: dict[str, Plot]  # distribution plots by column; metrics without numbers have none
    views: dict[int, RecordView]  # records that the page names, by row index
    sheets: dict[int, bytes]  # contact sheets of their videos as JPEG files, by row index, the most important first
    # failures, warnings: groups by code
    failures: list[FailureFigure]
    warnings: list[FailureGroup]
    sets: list[SetFigure]  # metrics of the run as a whole
    comparisons: list[Comparison]  # comparisons with other runs
    published: list[PublishedTable]  # tables of the paper
    provenance: Provenance  # origin of the videos and numbers
    verdict: Verdict  # which videos are usable
    gallery: GalleryData  # data of all rows
    weights: list[MetricWeights]  # files that metrics need

    @property
    def constants(self) -> list[MetricFigures]:
        """Metrics that have the same number for all of several videos."""
        return [metric for metric in self.metrics if metric.constant]

    @property
    def run_names(self) -> list[str]:
        """Names of this run and of the compared runs."""
        return [self.name, *(other.name for other in self.comparisons)]

    @property
    def side_by_side(self) -> list[tuple[MetricColumn, list[Summary]]]:
        """Summaries of this run and of the compared runs, by metric."""
        columns = {pair.column.name: pair.column for other in self.comparisons for pair in other.pairs}
        ours = {metric.column.name: metric.summary for metric in self.metrics}
        theirs = [{pair.column.name: pair.theirs for pair in other.pairs} for other in self.comparisons]
        return [(column, [run.get(name, Summary()) for run in (ours, *theirs)]) for name, column in columns.items()]
