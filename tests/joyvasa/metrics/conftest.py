"""Separate models folder for each test."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def models_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models-home"
    monkeypatch.setenv("JOYVASA_MODELS", str(folder))
    return folder
