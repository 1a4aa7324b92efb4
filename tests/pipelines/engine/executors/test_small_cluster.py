"""A running Ray that is smaller than the run, or gone: it is used as it is, or named in a sentence."""

import os
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import grpc
import pytest
import ray

from joyvasa.errors import EnvironmentFault
from pipelines.engine.config import EngineConfig
from pipelines.engine.events import EventKind
from pipelines.engine.executors import ray_connection
from pipelines.engine.executors.base import ExecutorConfig
from pipelines.engine.executors.ray import RayExecutor
from pipelines.engine.graph import Pipeline, StageSpec
from pipelines.engine.interrupts import RunStopped
from pipelines.engine.loop import run_pipeline
from tests.pipelines.engine.toy_stages import diamond, records


@pytest.fixture(scope="module")
def one_cpu():
    ray.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
def test_a_machine_with_fewer_cpus_than_workers_runs_all_stages_at_once(one_cpu):
    pipeline = Pipeline(tuple(replace(spec, num_cpus=1) for spec in diamond(batch_size=4).stages))
    required = sum(spec.workers * spec.num_cpus for spec in pipeline.stages)
    assert required > 1
    finished = []
    executor = RayExecutor(ExecutorConfig(required_cpus=required))
    run_pipeline(pipeline, records(8), finished.append, executor=executor)
    assert len(finished) == 8


@pytest.mark.slow
def test_a_stage_without_worker_says_what_it_waits_for(one_cpu, monkeypatch):
    monkeypatch.setattr("pipelines.engine.loop.WAITING_S", 0.5)
    stage = diamond(batch_size=4).stages[0].stage
    pipeline = Pipeline((StageSpec(name="only", stage=stage, num_cpus=64),))
    events = []
    with pytest.raises(RunStopped, match=r"no_worker.*needs 64 CPU and 0 GPU; Ray offers 1 CPU \(1 free\) and 0 GPU"):
        run_pipeline(
            pipeline, records(1), events.append, executor=RayExecutor(), on_event=events.append,
            config=EngineConfig(start_limit_s=3),
        )  # fmt: skip
    waiting = [event for event in events if event.kind is EventKind.WAITING]
    assert 3 <= len(waiting) <= 6
    assert "needs 64 CPU" in waiting[0].data["sentence"]


def test_an_address_where_nothing_listens_is_refused_at_once(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    for given in (address, f"ray://{address}"):
        with pytest.raises(EnvironmentFault, match=rf"ray_unreachable: .*no answer from {address} .*running cluster"):
            RayExecutor(ExecutorConfig(address=given)).open()


def test_a_cluster_that_ended_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray/ray_current_cluster").write_text("127.0.0.1:9\n")
    with pytest.raises(EnvironmentFault, match=r"Ray at auto: no answer from 127.0.0.1:9"):
        RayExecutor(ExecutorConfig(address="auto")).open()


def test_a_long_temporary_folder_is_replaced_by_a_short_one(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("x" * 80)))
    assert ray_connection._short_temporary_folder() == {"_temp_dir": "/tmp/ray"}
    monkeypatch.setattr(ray_connection.os, "access", lambda path, mode: False)
    with pytest.raises(EnvironmentFault, match=r"ray_folder: .*set RAY_TMPDIR to a shorter folder"):
        ray_connection._short_temporary_folder()
    monkeypatch.setenv("TMPDIR", tempfile.gettempdir()[:30])
    assert ray_connection._short_temporary_folder() == {}


def _refuse(error):
    def refuse(**_):
        raise error

    return refuse


@pytest.fixture
def listening(monkeypatch):
    """Yield the address of a gRPC server without services; no Ray runs in this process."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


def test_a_server_of_another_kind_is_refused_within_the_time_limit(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray_connection, "CONNECT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(EnvironmentFault, match=rf"ray_unreachable: .*{address} does not speak Ray's protocol"):
            RayExecutor(ExecutorConfig(address=address)).open()


def test_a_cluster_that_refuses_the_token_is_reported_with_its_reason(monkeypatch, listening):
    reason = (
        "RPC error: InvalidAuthToken: Authentication token is missing or incorrect. Ensure that the token is there."
    )
    monkeypatch.setattr(ray._raylet, "GcsClient", _refuse(ray.exceptions.AuthenticationError(reason)))
    with pytest.raises(EnvironmentFault) as caught:
        RayExecutor(ExecutorConfig(address=listening)).open()
    assert str(caught.value) == (
        f"ray_unreachable: Ray at {listening}: RPC error: InvalidAuthToken: Authentication token is missing or "
        "incorrect; "
        "expected the token of the cluster: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
    )


def test_a_cluster_of_another_version_is_reported_as_one_sentence(monkeypatch, listening):
    monkeypatch.setattr(ray._raylet, "GcsClient", lambda **_: None)
    mismatch = "Version mismatch: The cluster was started with:\n    Ray: 2.9.0\n    Python: 3.10.1"
    monkeypatch.setattr(ray, "init", _refuse(RuntimeError(mismatch)))
    with pytest.raises(
        EnvironmentFault, match=r"ray_unreachable: .* started with: Ray: 2\.9\.0 Python: 3\.10\.1; expected"
    ):
        RayExecutor(ExecutorConfig(address=listening)).open()


def test_a_ray_of_this_machine_starts_without_a_home_folder_that_can_be_written(monkeypatch):
    monkeypatch.setenv("HOME", "/proc/none")
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # so that what the executor sets is undone
        monkeypatch.delenv(name)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    tokens = []
    monkeypatch.setattr(ray, "init", lambda **_: tokens.append(os.environ.get("RAY_AUTH_TOKEN")))
    RayExecutor(ExecutorConfig()).open()
    assert len(tokens[0]) == 64


@pytest.mark.parametrize("error", [ValueError("too little memory"), OSError(30, "Read-only file system")])
def test_a_ray_that_does_not_start_here_is_reported_as_one_sentence(monkeypatch, error):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", _refuse(error))
    with pytest.raises(EnvironmentFault, match=r"ray_start: Ray on this machine: does not start \(.*executor=local"):
        RayExecutor(ExecutorConfig()).open()
