import json

import pytest
from typer.testing import CliRunner

from joyvasa.metrics import METRIC_NAMES, build_metric
from pipelines.cli.main import app


@pytest.fixture(autouse=True)
def no_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("JOYVASA_MODELS", str(tmp_path))


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["metrics", "list", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_every_metric_is_listed_with_its_requirements():
    rows = json.loads(run("--json"))
    assert [row["name"] for row in rows] == list(METRIC_NAMES)
    for row in rows:
        assert row["measures"]
        assert row["available"] == (not build_metric(row["name"]).roles)
        assert row["available"] or row["reason"].startswith("not available: needs /")
        assert row["available"] or row["license"]
        for column in row["columns"]:
            assert {"name", "title", "measures", "unit", "better"} == column.keys()


def test_the_text_list_has_columns_licenses_and_missing_files():
    text = run()
    for name in METRIC_NAMES:
        assert f"{name}: " in text
        for column in build_metric(name).columns:
            assert column.name in text
        assert build_metric(name).license in text
    assert "sync: not available: needs " in text
    assert "sharpness: available" in text
