"""Storages: a local folder, memory, and an S3-compatible server."""

import uuid

import pytest

from manifests.storage import open_storage


@pytest.fixture(params=["local", "memory", "s3"])
def storage(request, tmp_path):
    if request.param == "local":
        return open_storage(tmp_path / "run")
    if request.param == "memory":
        return open_storage(f"memory://{uuid.uuid4().hex}/run")
    return open_storage(request.getfixturevalue("s3_bucket") + "/runs/one")
