"""Each problem of a file is found, and found alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from joyvasa.bundles import open_bundle
from joyvasa.bundles.verification import FileCheck, verify_bundle
from tests.joyvasa.bundles.published import small_spec, write_bundle

WARPING = "liveportrait/base_models/warping_module.pth"


def verify_roles(folder: Path, *, load: bool = True) -> dict[str, FileCheck]:
    bundle = open_bundle(folder)
    return {check.role: check for check in verify_bundle(bundle, bundle.spec.roles, load=load)}


def test_intact_files_pass(folder: Path) -> None:
    results = verify_roles(folder)
    assert {check.status for check in results.values()} == {"ok"}
    assert results["warping_module"].loads
    assert results["warping_module"].pinned
    assert results["warping_module"].license == "MIT"


def test_loading_can_be_skipped(folder: Path) -> None:
    assert verify_roles(folder, load=False)["warping_module"].loads is None


@pytest.mark.parametrize("problem", ["missing", "wrong_size", "wrong_hash", "does_not_load"])
def test_a_problem_with_one_file_does_not_stop_the_verification_of_others(folder: Path, problem: str) -> None:
    path = folder / WARPING
    data = path.read_bytes()
    if problem == "missing":
        path.unlink()
    elif problem == "wrong_size":
        path.write_bytes(data[:-1])
    elif problem == "wrong_hash":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    else:
        torch.save({"fourth.bias": torch.zeros(3)}, path)
        write_bundle(folder, small_spec(folder))

    results = verify_roles(folder)
    check = results["warping_module"]
    assert check.status == problem
    assert not check.passed
    assert str(path) in check.problem
    assert results["lip"].passed
    assert results["motion_generator"].passed


def test_a_missing_optional_file_passes(folder: Path) -> None:
    spec = small_spec(folder)
    eye = spec.roles["eye"].model_copy(update={"file": "not/there.pth"})
    write_bundle(folder, spec.model_copy(update={"roles": spec.roles | {"eye": eye}}))
    check = verify_roles(folder)["eye"]
    assert check.status == "absent"
    assert check.passed


def test_a_broken_onnx_file_does_not_load(tmp_path: Path) -> None:
    spec = open_bundle("joyvasa").spec
    detector = spec.roles["face_detector"].model_copy(update={"sha256": None, "bytes": None})
    folder = write_bundle(tmp_path / "bundle", spec.model_copy(update={"roles": {"face_detector": detector}}))
    path = folder / str(detector.file)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a model")
    check = verify_roles(folder)["face_detector"]
    assert check.status == "does_not_load"
    assert "cannot be read as ONNX" in check.problem
    assert not check.pinned


def test_a_result_can_be_converted_to_json(folder: Path) -> None:
    row = verify_roles(folder, load=False)["warping_module"].to_dict()
    assert row["status"] == "ok"
    assert row["commercial"] == "yes"
