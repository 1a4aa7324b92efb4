"""How tests are spread over processes, and an S3-compatible server for tests of several rooms."""

import gc
import os
import uuid

import fsspec
import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

if "PYTEST_XDIST_WORKER" in os.environ:  # one worker per core: threads would only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("RAY_worker_niceness", "0")  # with Ray's own priority, 15, its workers wait for other tests

# The same examples in each run, without limits of time.
hypothesis.settings.register_profile("repeatable", database=None, derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")

# Modules that share one process: they kill workers of a Ray of their own, whose successors cannot start in time beside
# those of another one.
ALONE = "tests/faults/test_"
# Tests that take longest, in the order in which they start.
LONGEST = (ALONE, "tests/pipelines/engine/executors", "tests/pipelines/web", "tests/pipelines/runs", "tests/pipelines")


def pytest_xdist_auto_num_workers(config):
    return min(4, (os.cpu_count() or 1) + 1)  # one more than cores, because tests of Ray wait for its processes


def pytest_collection_modifyitems(items):
    """Put the longest modules first, so that no process runs one alone at the end."""
    items.sort(key=lambda item: [not item.nodeid.startswith(folder) for folder in LONGEST])


class Modules(LoadFileScheduling):
    """Gives each module to one process, and those of `ALONE` to the same one."""

    def _split_scope(self, nodeid):
        module = super()._split_scope(nodeid)
        return ALONE if module.startswith(ALONE) else module


def pytest_xdist_make_scheduler(config, log):
    return Modules(config, log)


@pytest.fixture(scope="module", autouse=True)
def frozen_modules():
    """Exempt what earlier modules imported from garbage collection, which each call of the command line ends with."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def s3_server():
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_bucket(s3_server, monkeypatch):
    settings = {"key": "test", "secret": "test", "endpoint_url": s3_server}
    monkeypatch.setitem(fsspec.config.conf, "s3", settings)
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    fsspec.filesystem("s3").mkdir(name)
    return f"s3://{name}"
