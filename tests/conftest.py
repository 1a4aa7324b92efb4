"""How tests are spread over processes, and an S3-compatible server for tests of several rooms."""

import os
import uuid

import fsspec
import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # one worker per core: threads would only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("RAY_worker_niceness", "0")  # with Ray's own priority, 15, its workers wait for other tests

# Folders whose tests take longest, in the order in which they start.
LONGEST = (
    "tests/faults/test_",
    "tests/pipelines/engine/executors",
    "tests/pipelines/web",
    "tests/pipelines/runs",
    "tests/pipelines",
)
# Modules that share one process: they kill workers of a Ray of their own, whose successors cannot start in time beside
# those of another one.
ALONE = "tests/faults/test_"


def pytest_xdist_auto_num_workers(config):
    return min(4, (os.cpu_count() or 1) + 1)  # one more than cores, because tests of Ray wait for its processes


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items):
    """Put the longest modules first, so that no process runs one alone at the end; each group runs in one process."""
    items.sort(key=lambda item: [not item.nodeid.startswith(folder) for folder in LONGEST])
    for item in items:
        module = item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(ALONE if module.startswith(ALONE) else module))


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
