"""Fixtures of the bundle tests: each test has its own models folder and its own copy of a bundle."""

import shutil
from pathlib import Path

import pytest

from tests.joyvasa.bundles.published import small_spec, write_bundle, write_published


@pytest.fixture(autouse=True)
def models_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models-home"
    monkeypatch.setenv("JOYVASA_MODELS", str(folder))
    return folder


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_published(tmp_path_factory.mktemp("published"))
    return write_bundle(folder, small_spec(folder))


@pytest.fixture
def folder(published: Path, tmp_path: Path) -> Path:
    shutil.copytree(published, tmp_path / "bundle")
    return tmp_path / "bundle"
