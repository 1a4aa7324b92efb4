"""`joyvasa models`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from joyvasa.bundles import open_bundle
from joyvasa.errors import ModelError
from pipelines.cli.models import app
from tests.joyvasa.bundles.hub import Hub
from tests.joyvasa.bundles.published import small_network, small_spec, write_bundle

FEATURES = "liveportrait/base_models/appearance_feature_extractor.pth"


@pytest.fixture(autouse=True)
def models_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JOYVASA_MODELS", str(tmp_path / "models-home"))
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path / "models-home"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a bundle with one network."""
    path = tmp_path / "bundle"
    (path / FEATURES).parent.mkdir(parents=True)
    torch.save(small_network("appearance_feature_extractor").state_dict(), path / FEATURES)
    spec = small_spec(path)
    role = spec.roles["appearance_feature_extractor"]
    return write_bundle(path, spec.model_copy(update={"roles": {"appearance_feature_extractor": role}}))


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    return result


def test_list_shows_roles_licenses_and_missing_files() -> None:
    text = run("list").stdout
    for word in ("joyvasa", "random", "warping_module", "182.2 MB", "generated", "not available: needs"):
        assert word in text
    assert "InsightFace non-commercial" in " ".join(text.split())


def test_list_as_json_is_one_document() -> None:
    bundles = json.loads(run("list", "--json").stdout)
    assert [bundle["name"] for bundle in bundles] == ["faces", "joyvasa", "metrics", "random", "sample"]
    roles = {row["role"]: row for row in bundles[1]["roles"]}
    assert roles["face_detector"]["commercial"] == "no"
    assert not roles["face_detector"]["available"]
    assert bundles[3]["synthetic"]
    assert all(row["available"] for row in bundles[3]["roles"])


def test_verify_of_a_complete_bundle_exits_with_0(folder: Path) -> None:
    assert "ok" in run("verify", str(folder)).stdout
    result = json.loads(run("verify", str(folder), "--json").stdout)
    assert result["ok"]
    (file,) = result["files"]
    assert file["status"] == "ok"
    assert file["loads"]
    assert file["sha256"] == hashlib.sha256((folder / FEATURES).read_bytes()).hexdigest()


def test_verify_of_the_random_bundle_exits_with_0() -> None:
    assert json.loads(run("verify", "random", "--json").stdout)["ok"]


def test_verify_of_a_damaged_file_exits_with_1_and_a_reason(folder: Path) -> None:
    data = (folder / FEATURES).read_bytes()
    (folder / FEATURES).write_bytes(data[:-1])
    assert f"{len(data) - 1} bytes, expected {len(data)}" in run("verify", str(folder), code=1).stdout
    result = json.loads(run("verify", str(folder), "--json", code=1).stdout)
    assert result["files"][0]["status"] == "wrong_size"


def test_verify_of_missing_files_exits_with_1() -> None:
    result = json.loads(run("verify", "joyvasa", "--json", "--no-load", code=1).stdout)
    statuses = {file["role"]: file["status"] for file in result["files"]}
    assert statuses["warping_module"] == "missing"
    assert statuses["face_detector"] == "absent"  # not needed by blazeface
    assert "animal_landmarks" not in statuses


def test_paths_that_look_like_markup_are_printed_as_they_are(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / "[red]" / "[" / "a] :car:"
    odd.parent.mkdir(parents=True)
    folder.rename(odd)
    monkeypatch.setenv("JOYVASA_MODELS", str(odd.parent))
    assert str(odd) in run("verify", str(odd), "--no-load").stdout
    assert str(odd) in run("convert", str(odd)).stdout
    assert f"Models are fetched to {odd.parent};" in run("list", str(odd)).stdout


def test_an_unknown_bundle_or_role_is_an_error() -> None:
    for arguments in (("verify", "nothing"), ("verify", "random", "--role", "nothing"), ("fetch", "nothing")):
        result = CliRunner().invoke(app, list(arguments))
        assert isinstance(result.exception, ModelError), result.output
    run("verify", "random", "--mode", "nothing", code=2)


def test_convert_writes_a_valid_bundle(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "converted"
    converted = json.loads(run("convert", str(folder), "--out", str(out), "--json").stdout)
    assert [item["path"] for item in converted] == [str(out / "appearance_feature_extractor.safetensors")]
    assert json.loads(run("verify", str(out), "--json").stdout)["ok"]
    assert str(folder) in run("convert", str(folder)).stdout
    assert open_bundle(folder).find_file("appearance_feature_extractor").suffix == ".safetensors"
    assert "nothing to convert" in run("convert", "joyvasa").stdout


def test_fetch_downloads_only_missing_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = (folder / FEATURES).read_bytes()
    (folder / FEATURES).unlink()
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with Hub({f"KlingTeam/LivePortrait/{FEATURES}": data}).serve() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert "appearance_feature_extractor: fetched" in run("fetch", str(folder)).stdout
        assert (folder / FEATURES).read_bytes() == data
        n_requests = len(hub.requests)
        (result,) = json.loads(run("fetch", str(folder), "--json").stdout)
        assert result["outcome"] == "present"
        assert len(hub.requests) == n_requests


def test_fetch_can_skip_restricted_weights() -> None:
    arguments = ("fetch", "joyvasa", "--role", "face_detector", "--role", "landmarks106", "--commercial-only", "--json")
    assert {row["outcome"] for row in json.loads(run(*arguments).stdout)} == {"refused"}
