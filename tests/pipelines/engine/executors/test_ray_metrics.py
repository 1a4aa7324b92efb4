"""Metrics of a run for the Ray dashboard and Prometheus, read from the endpoint of Prometheus."""

import re
import time
import urllib.error
import urllib.request
from collections import defaultdict

import pytest
import ray

from pipelines.engine.config import EngineConfig
from pipelines.engine.executors.ray import RayExecutor
from pipelines.engine.graph import Pipeline, StageSpec
from pipelines.engine.loop import run_pipeline
from stages.base import Failed, FailureKind, Ok, Stage
from tests.pipelines.engine.toy_stages import records

pytestmark = pytest.mark.slow

LIMIT_S = 60.0  # Ray exports metrics every ten seconds
SAMPLE = re.compile(r"^ray_joyvasa_(\w+)\{(.*)\} (\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')
GAUGES = {"queue_depth", "workers", "batch_fill", "busy_fraction"}


class Frames(Stage):
    """Report five frames per record; the records r0, r10, ... fail."""

    def run(self, batch):
        bad = Failed(FailureKind.BAD_INPUT, "bad", "bad")
        return [Ok(None, {"frames": 5}) if item.record.seed % 10 else bad for item in batch]


class Dies(Stage):
    """End the first process within its second batch, whose records then must not be counted twice."""

    def __init__(self, log):
        self.log = log

    def run(self, batch):
        with self.log.open("a") as file:
            file.write("run\n")
        if len(self.log.read_text().splitlines()) == 2:
            raise SystemExit
        return [Ok(None) for _ in batch]


@pytest.fixture(scope="module")
def endpoint():
    ray.init(address="local", num_cpus=4, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
    node = ray.nodes()[0]
    yield f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    ray.shutdown()


def scrape(endpoint: str) -> dict[str, dict[str, float]]:
    """Return the values by name and stage, without the buckets of histograms."""
    series = defaultdict(dict)
    try:
        text = urllib.request.urlopen(endpoint, timeout=10).read().decode()
    except (urllib.error.URLError, TimeoutError):
        return {}
    for name, labels, value in SAMPLE.findall(text):
        tags = dict(LABEL.findall(labels))
        if "le" not in tags:
            series[name][tags["stage"]] = series[name].get(tags["stage"], 0.0) + float(value)
    return dict(series)


def test_prometheus_finds_every_series_by_stage_with_the_right_counts(endpoint, tmp_path):
    pipeline = Pipeline(
        (
            StageSpec(name="motion", stage=Frames(), num_cpus=0.1, batch_size=4),
            StageSpec(name="commit", stage=Dies(tmp_path / "log"), num_cpus=0.1, inputs=("motion",), batch_size=4),
        )
    )
    config = EngineConfig(verdict_s=0.1)
    statistics = run_pipeline(
        pipeline, records(40), lambda record: None, executor=RayExecutor(), config=config
    ).as_dict()
    expected = {
        "records_total": {"motion": 36.0, "commit": 36.0},
        "failures_total": {"motion": 4.0},
        "frames_total": {"motion": 180.0},
        "batch_seconds_count": {name: float(statistics["stages"][name]["batches"]) for name in ("motion", "commit")},
        "batch_records_count": {name: float(statistics["stages"][name]["batches"]) for name in ("motion", "commit")},
    }
    start = time.monotonic()
    while True:
        series = scrape(endpoint)
        if all(series.get(name) == values for name, values in expected.items()) and series.keys() >= GAUGES:
            break
        assert time.monotonic() - start < LIMIT_S, series
        time.sleep(0.5)
    for name in GAUGES:
        assert series[name] == {
            stage: pytest.approx(statistics["stages"][stage][name]) for stage in ("motion", "commit")
        }
    for stage, seconds in series["busy_seconds_total"].items():
        assert seconds == pytest.approx(statistics["stages"][stage]["busy_s"])
