import pytest

from pipelines.runs.export import export


@pytest.fixture(autouse=True)
def make_overview(monkeypatch):
    """Leave out contact sheets, because most videos of these tests cannot be decoded; return the function."""
    original = export.make_overview
    monkeypatch.setattr(export, "make_overview", lambda samples: None)
    return original
