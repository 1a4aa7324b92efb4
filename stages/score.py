"""Finished videos become numbers."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from manifests.storage import LocalStorage, open_storage
from stages.base import Fact, Item, Ok, Outcome, Stage
from stages.isolation import each, sorted_failure
from stages.video_output import VideoPayload


class Metric(Protocol):
    """A number that is read off a finished video. It is sent to the worker before `setup`."""

    @property
    def name(self) -> str:
        """Of its column."""
        ...

    def setup(self) -> None:
        """Loads what it needs; called once in every worker."""

    def measure(self, video: Path, facts: Mapping[str, Any]) -> float | None:
        """Measures one video.

        Args:
            video: local file.
            facts: the columns of the row (`image`, `audio`, ...), and the fields of `VideoPayload`.

        Returns:
            The number; None where it has no meaning for this video.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """Where the videos are, and what is measured.

    Attributes:
        run: the run folder; a path or URI.
        metrics: with names of their own.
    """

    run: str
    metrics: tuple[Metric, ...] = ()


@dataclass(frozen=True)
class Scores:
    """What was measured.

    Attributes:
        metrics: by name; None where there is no number.
        reasons: by name, why there is none.
    """

    metrics: Mapping[str, float | None] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)


class ScoreStage(Stage):
    """`VideoPayload` -> `Scores`; facts `metric.NAME`, and `metric.NAME.reason` where a metric failed.

    A metric that fails never harms the record.

    Args:
        config: see `ScoreConfig`.
    """

    def __init__(self, config: ScoreConfig) -> None:
        self.config = config

    def setup(self) -> None:
        """Loads the metrics."""
        self._storage = open_storage(self.config.run)
        for metric in self.config.metrics:
            metric.setup()

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Measures one video after another."""
        return each(batch, self._score)

    def _score(self, item: Item) -> Outcome:
        if not self.config.metrics:
            return Ok(Scores())
        made: VideoPayload = item.inputs["render"]
        known = {**item.record.row, **asdict(made)}
        with self._local(made.video) as path:
            results = {metric.name: _measure(metric, path, known) for metric in self.config.metrics}
        scores = Scores(
            {name: value for name, (value, _) in results.items()},
            {name: reason for name, (_, reason) in results.items() if reason},
        )
        facts: dict[str, Fact] = {f"metric.{name}": value for name, value in scores.metrics.items()}
        return Ok(scores, facts | {f"metric.{name}.reason": reason for name, reason in scores.reasons.items()})

    @contextmanager
    def _local(self, video: str) -> Generator[Path]:
        if isinstance(self._storage, LocalStorage):
            yield self._storage.path(video)
            return
        with tempfile.TemporaryDirectory(prefix="joyvasa-score-") as folder:
            target = Path(folder, "video.mp4")
            with self._storage.open(video) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
            yield target


def _measure(metric: Metric, video: Path, facts: Mapping[str, Any]) -> tuple[float | None, str | None]:
    """The number, and why there is none."""
    try:
        value = metric.measure(video, facts)
    except Exception as error:  # a metric is never a reason to lose a video
        failure = sorted_failure(error)
        return None, f"{failure.code}: {failure.sentence}"
    if value is not None and not math.isfinite(value):
        return None, f"not_finite: the metric gave {value}"
    return (None if value is None else float(value)), None
