"""How tests are spread over processes, and an S3-compatible server for tests of several rooms."""

import os
import uuid

import fsspec
import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # one worker per core: threads would only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

LONGEST = ("tests/pipelines/engine/executors", "tests/pipelines/web", "tests/pipelines/runs", "tests/pipelines")


def pytest_xdist_auto_num_workers(config):
    return min(4, (os.cpu_count() or 1) + 1)  # one more than cores, because tests of Ray wait for its processes


def pytest_collection_modifyitems(items):
    """Put the longest modules first, so that no process runs one alone at the end."""
    items.sort(key=lambda item: [not item.nodeid.startswith(folder) for folder in LONGEST])


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
