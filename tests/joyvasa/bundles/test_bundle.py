"""Opening bundles, availability of roles, hashes and fingerprints."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from joyvasa.bundles import get_models_folder, list_bundle_names, open_bundle
from joyvasa.bundles import hashes as hashing
from joyvasa.bundles.hashes import HashCache
from joyvasa.errors import ModelError
from tests.joyvasa.bundles.published import small_spec, write_bundle


def test_builtin_bundles_have_names(models_home: Path) -> None:
    assert list_bundle_names()[:5] == ["faces", "joyvasa", "metrics", "random", "sample"]
    assert get_models_folder() == models_home
    assert open_bundle("joyvasa").folder == models_home / "joyvasa"


def test_the_models_folder_is_in_the_data_folder_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JOYVASA_MODELS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert get_models_folder() == tmp_path / "joyvasa/models"
    monkeypatch.setattr("sys.platform", "darwin")
    assert get_models_folder() == Path.home() / "Library/Application Support/joyvasa/models"


def test_a_bundle_in_the_models_folder_can_be_opened_by_name(folder: Path, models_home: Path) -> None:
    shutil.move(folder, models_home / "mine")
    assert "mine" in list_bundle_names()
    assert open_bundle("mine").folder == models_home / "mine"


def test_a_bundle_can_be_opened_by_folder_and_by_its_bundle_yaml(folder: Path) -> None:
    assert open_bundle(str(folder)).folder == folder
    assert open_bundle(folder / "bundle.yaml").folder == folder


@pytest.mark.parametrize("name", ["nothing", "", "../nothing", "/nowhere"])
def test_the_error_for_an_unknown_bundle_lists_all_bundles(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"one of faces, joyvasa, metrics, random, sample, a folder with bundle\.yaml"):
        open_bundle(name)


def test_a_user_without_a_home_folder_has_the_bundles_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("JOYVASA_MODELS", raising=False)
    monkeypatch.setattr(Path, "home", fail)
    assert get_models_folder().is_absolute()
    assert open_bundle("sample").has_role("motion_generator")


def test_missing_files_are_named_with_the_command_that_fetches_them() -> None:
    bundle = open_bundle("joyvasa")
    assert not bundle.has_role("warping_module")
    assert not bundle.has_role("no_such_role")
    with pytest.raises(ModelError) as caught:
        bundle.require_roles(["warping_module", "stitching", "lip"])
    assert caught.value.code == "models_missing"
    sentence = caught.value.sentence
    assert "not available: needs " in sentence
    assert sentence.count("stitching_retargeting_module.pth") == 1
    assert sentence.endswith("(joyvasa models fetch joyvasa)")

    with pytest.raises(ModelError, match=r"--mode animal\)"):
        bundle.require_roles(["animal_landmarks"])
    with pytest.raises(ModelError, match="has no no_such_role; expected"):
        bundle.require_roles(["no_such_role"])
    with pytest.raises(ModelError, match=r"needs .*warping_module\.pth"):
        bundle.load_network("warping_module")


def test_a_file_with_another_hash_is_refused(folder: Path) -> None:
    path = folder / "liveportrait/base_models/warping_module.pth"
    state = torch.load(path, weights_only=True)
    state["fourth.bias"] += 1
    torch.save(state, path)
    with pytest.raises(ModelError) as caught:
        open_bundle(folder).load_network("warping_module")
    assert caught.value.code == "weights_wrong_hash"
    assert str(path) in caught.value.sentence


def test_invalid_network_sizes_are_an_error(tmp_path: Path, folder: Path) -> None:
    for config in ({"depth": 0}, {"color": 3}):
        write_bundle(folder, small_spec(folder, warping_module=config))
        with pytest.raises(ModelError, match="warping_module cannot be built"):
            open_bundle(folder).load_network("warping_module")


def test_the_fingerprint_depends_only_on_weights_and_switches(folder: Path, tmp_path: Path) -> None:
    first = open_bundle(folder).compute_fingerprint()
    assert open_bundle(folder).compute_fingerprint() == first
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    assert open_bundle(moved).compute_fingerprint() == first

    spec = small_spec(folder)
    write_bundle(moved, spec.model_copy(update={"description": "another text"}))
    assert open_bundle(moved).compute_fingerprint() == first
    switches = spec.switches.model_copy(update={"audio_padding_samples": (1, 2), "frames_per_second": 30})
    write_bundle(moved, spec.model_copy(update={"switches": switches}))
    assert open_bundle(moved).compute_fingerprint() != first

    path = moved / "liveportrait/base_models/warping_module.pth"
    state = torch.load(path, weights_only=True)
    state["fourth.bias"] += 1
    torch.save(state, path)
    write_bundle(moved, small_spec(moved))
    assert open_bundle(moved).compute_fingerprint() != first
    assert open_bundle(moved).compute_fingerprint(["lip"]) == open_bundle(folder).compute_fingerprint(["lip"])


def test_a_file_is_hashed_again_only_after_it_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[Path] = []

    def count(path: Path) -> str:
        computed.append(path)
        return original(path)

    original = hashing.hash_file
    monkeypatch.setattr(hashing, "hash_file", count)
    first = open_bundle(folder).hash_roles()
    n_files = len({role.file for role in open_bundle(folder).spec.roles.values() if role.file and role.sha256})
    assert len(computed) == n_files
    assert open_bundle(folder).hash_roles() == first
    assert len(computed) == n_files
    path = folder / "liveportrait/base_models/warping_module.pth"
    os.utime(path, (1, 1))
    assert open_bundle(folder).hash_roles() == first
    assert len(computed) == n_files + 1


def test_an_unusable_hash_cache_is_ignored(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    for content in (b"", b"[]", b"{", b'{"x": 1}', b"\xff", b"[" * 100_000):
        path = tmp_path / "cache.json"
        path.write_bytes(content)
        assert HashCache(path).sha256(file) == expected
    assert HashCache(file / "not-a-folder/cache.json").sha256(file) == expected


def test_licenses_are_returned_by_role(folder: Path) -> None:
    bundle = open_bundle("joyvasa")
    licenses = bundle.get_licenses(["face_detector", "warping_module"])
    assert {role: license.commercial for role, license in licenses.items()} == {
        "face_detector": "no",
        "warping_module": "yes",
    }
    assert bundle.get_licenses() == {}  # no file exists
    assert set(open_bundle(folder).get_licenses()) >= {"warping_module", "motion_generator"}
