"""The number of GPUs of a run that does not configure it."""

import pytest
import ray
import torch
from ray.cluster_utils import Cluster

from pipelines.runs.config import RunConfig
from pipelines.runs.generate import build_video_pipeline
from pipelines.runs.resources import count_run_gpus
from tests.pipelines.runs.small_runs import make_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster():
    """Start a cluster with a head node without GPUs, like this machine, and two worker nodes with GPUs."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0})
    for num_gpus in (2, 1):
        cluster.add_node(num_cpus=1, num_gpus=num_gpus, object_store_memory=100 << 20)
    yield cluster
    cluster.shutdown()


def test_with_an_address_the_gpus_of_the_cluster_count(cluster, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)  # this machine runs no workers
    config = make_config("executor=ray", f"ray.address={cluster.address}")
    assert count_run_gpus(config) == 3
    assert not ray.is_initialized()
    pipeline = build_video_pipeline(config, "/run", {"human": 99}, gpus=count_run_gpus(config))
    assert pipeline.by_name["render"].workers == 3
    assert count_run_gpus(make_config("executor=ray", f"ray.address={cluster.address}", "ray.gpus=5")) == 5


def test_inside_a_submitted_job_the_cluster_of_the_job_counts(cluster, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    assert count_run_gpus(RunConfig()) == 3


def test_an_existing_connection_to_ray_is_used_and_kept_open(cluster):
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        assert count_run_gpus(RunConfig()) == 3
        assert ray.is_initialized()
    finally:
        ray.shutdown()


def test_without_a_cluster_the_gpus_of_this_machine_count(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    assert count_run_gpus(RunConfig()) == 8
    assert count_run_gpus(make_config("executor=local")) == 0
