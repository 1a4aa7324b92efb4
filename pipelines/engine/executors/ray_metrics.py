"""Metrics of a run for the Ray dashboard and Prometheus."""

from __future__ import annotations

from ray.util import metrics

from pipelines.engine.executors.base import BatchResult
from pipelines.engine.statistics import RunStatistics
from stages.base import Ok


class RayMetrics:
    """Metrics of a run by stage.

    All of them are recorded by the driver: Ray collects the metrics of a process periodically, so that counts of a
    worker would be lost when it ends, and only the driver knows which results count.
    """

    def __init__(self) -> None:
        keys = ("stage",)
        self._counters = {
            name: metrics.Counter(f"joyvasa_{name}", text, keys)
            for name, text in {
                "records": "records that passed a stage",
                "failures": "failures of records in a stage, retries included",
                "frames": "video frames produced by a stage",
                "busy_seconds": "time that workers of a stage spent on batches",
            }.items()
        }

        bounds = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300]
        self._seconds = metrics.Histogram("joyvasa_batch_seconds", "time for one batch", bounds, keys)
        self._batch = metrics.Histogram("joyvasa_batch_records", "records in one batch", [1, 2, 4, 8, 16, 32, 64], keys)

        self._gauges = {
            name: metrics.Gauge(f"joyvasa_{name}", text, keys)
            for name, text in {
                "queue_depth": "records waiting for a stage",
                "workers": "ready workers of a stage",
                "batch_fill": "mean fill of batches, 0 to 1",
                "busy_fraction": "fraction of the time with work to do that workers are busy, 0 to 1",
            }.items()
        }

    def count_batch(self, stage: str, result: BatchResult) -> None:
        """Count one batch."""
        tags = {"stage": stage}
        succeeded = [outcome for outcome in result.outcomes if isinstance(outcome, Ok)]
        frames = sum(o.facts["frames"] for o in succeeded if isinstance(o.facts.get("frames"), int))  # type: ignore[misc]
        counts = {"records": len(succeeded), "failures": len(result.outcomes) - len(succeeded), "frames": frames}
        for name, n in (counts | {"busy_seconds": result.seconds}).items():
            if n:
                self._counters[name].inc(n, tags)
        self._seconds.observe(result.seconds, tags)
        if result.outcomes:
            self._batch.observe(len(result.outcomes), tags)

    def set_gauges(self, statistics: RunStatistics) -> None:
        """Set the gauges to the current state."""
        for stage, numbers in statistics.stages.items():
            for name, gauge in self._gauges.items():
                gauge.set(float(getattr(numbers, name)), {"stage": stage})
