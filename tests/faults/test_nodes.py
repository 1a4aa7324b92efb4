"""A node is removed and another one added: the run continues."""

import os
import threading
import time
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
import ray
from ray.cluster_utils import Cluster

from manifests.run.outcome import Status
from pipelines.engine.config import EngineConfig
from pipelines.engine.events import EventKind
from pipelines.engine.executors.ray import RayExecutor
from pipelines.engine.graph import Pipeline, StageSpec
from pipelines.engine.loop import run_pipeline
from stages.base import Ok, Stage
from tests.pipelines.engine.toy_stages import records

pytestmark = pytest.mark.slow

STRICT = EngineConfig(solo_failures=1, verdict_s=0.5, start_limit_s=180.0)  # blames a record that loses one worker


class Feature(Stage):
    """Returns 2 MB per record, which are stored on the node of the worker."""

    def run(self, batch):
        return [Ok(np.full(1 << 18, item.record.seed, np.float64), {"bytes": 1 << 21}) for item in batch]


class Render(Stage):
    """Reports its GPU and when it used it."""

    def setup(self):
        self.gpu = f"{ray.get_runtime_context().get_node_id()}/{os.environ['CUDA_VISIBLE_DEVICES']}"

    def run(self, batch):
        start = time.time()
        assert all(item.inputs["portrait"][0] == item.record.seed for item in batch)
        time.sleep(0.3)
        facts = {"gpu": self.gpu, "pid": os.getpid(), "start": start, "end": time.time()}
        return [Ok(None, facts) for _ in batch]


class Stuck(Stage):
    """Does not end on the first node of the cluster that has CPUs."""

    def __init__(self, node):
        self.node = node

    def run(self, batch):
        if ray.get_runtime_context().get_node_id() == self.node:
            time.sleep(600)
        return [Ok(None) for _ in batch]


@pytest.fixture
def cluster():
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 100 << 20})
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_idle_workers_end_where_a_stage_with_work_finds_no_room(cluster, monkeypatch):
    """The first stage gets all CPUs, though one worker would do; the other one needs half a CPU beside each GPU."""
    monkeypatch.setattr("pipelines.engine.loop.ROOM_S", 3.0)
    for _ in range(2):
        cluster.add_node(num_cpus=2, num_gpus=1, object_store_memory=100 << 20)
    ray.init(address=cluster.address, log_to_driver=False)
    pipeline = Pipeline(
        (
            StageSpec(name="portrait", stage=Feature(), num_cpus=1, workers=6, batch_size=2),
            StageSpec(name="render", stage=Render(), inputs=("portrait",), num_cpus=0.5, num_gpus=1, workers=2),
        )
    )
    finished, events = [], []
    run_pipeline(pipeline, records(200), finished.append, executor=RayExecutor(), config=STRICT, on_event=events.append)
    assert [record.status for record in finished] == [Status.OK] * 200
    assert len({record.facts["render"]["gpu"] for record in finished}) == 2
    assert {event.stage for event in events if event.kind is EventKind.WORKER_ENDED} == {"portrait"}
    assert not [event for event in events if event.kind is EventKind.WORKER_LOST]


def test_no_record_is_blamed_while_ray_does_not_know_yet_that_the_node_is_lost(cluster):
    """Ray calls a node alive until it has missed several heartbeats; its processes are gone long before."""
    removed = cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
    ray.init(address=cluster.address, log_to_driver=False)
    finished, causes = [], []

    removal = threading.Thread(target=cluster.remove_node, args=(removed,), kwargs={"allow_graceful": False})

    def on_event(event):
        if event.kind is EventKind.WORKER_READY and removal.ident is None:
            removal.start()
        if event.kind is EventKind.WORKER_LOST:
            causes.append(event.data["cause"])
            cluster.add_node(num_cpus=1, object_store_memory=100 << 20)

    pipeline = Pipeline((StageSpec(name="render", stage=Stuck(removed.node_id), num_cpus=1, workers=1),))
    run_pipeline(pipeline, records(3), finished.append, executor=RayExecutor(), config=STRICT, on_event=on_event)
    removal.join()
    assert [record.status for record in finished] == [Status.OK] * 3
    assert causes == ["node_died"]


@pytest.mark.parametrize("graceful", [True, False])
def test_the_run_survives_the_loss_of_a_node_and_uses_a_new_one(cluster, graceful):
    worker_node = {"num_cpus": 4, "num_gpus": 2, "object_store_memory": 100 << 20}
    removed = cluster.add_node(**worker_node)
    cluster.add_node(**worker_node)
    ray.init(address=cluster.address, log_to_driver=False)
    pipeline = Pipeline(
        (
            StageSpec(name="portrait", stage=Feature(), num_cpus=1, workers=5, batch_size=2),
            StageSpec(name="render", stage=Render(), inputs=("portrait",), num_cpus=0.5, num_gpus=1, workers=4),
        )
    )
    finished, lost = [], []

    removal = threading.Thread(target=cluster.remove_node, args=(removed,), kwargs={"allow_graceful": graceful})

    def on_finished(record):
        finished.append(record)
        if len(finished) == 20:
            removal.start()
        if len(finished) == 60:
            cluster.add_node(**worker_node)

    def on_event(event):
        if event.kind in (EventKind.WORKER_LOST, EventKind.BATCH_RETRIED):
            lost.append(event)

    run_pipeline(pipeline, records(200), on_finished, executor=RayExecutor(), config=STRICT, on_event=on_event)
    removal.join()

    assert sorted(record.record.seed for record in finished) == list(range(200))
    assert all(record.status is Status.OK for record in finished), [r.rejection for r in finished if r.rejection]
    assert sum(event.kind is EventKind.WORKER_LOST for event in lost) >= 2
    used = defaultdict(list)
    for record in finished:
        facts = record.facts["render"]
        used[facts["gpu"]].append((facts["start"], facts["end"], facts["pid"]))
    assert len(used) == 6, f"three nodes with two GPUs each: {used.keys()}"
    for spans in used.values():
        for (_, end, pid), (start, _, next_pid) in pairwise(sorted(spans)):
            assert end <= start, f"processes {pid} and {next_pid} on one GPU at a time"
    reasons = {event.data.get("cause", event.data.get("code")) for event in lost}
    assert "payload_lost" in reasons
