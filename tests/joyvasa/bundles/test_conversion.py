"""Converted bundles contain the same tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from joyvasa.bundles import Bundle, open_bundle
from joyvasa.bundles.conversion import convert_in_place, convert_to_folder
from joyvasa.bundles.verification import verify_bundle
from joyvasa.errors import ModelError, OutputError
from tests.joyvasa.bundles.published import LOADED, small_spec, write_bundle


@pytest.fixture
def bundle(folder: Path) -> Bundle:
    return open_bundle(folder)


def assert_same_tensors(first: Bundle, second: Bundle) -> None:
    for role in LOADED:
        network, other_network = first.load_network(role), second.load_network(role)
        pairs = zip(network.state_dict().items(), other_network.state_dict().items(), strict=True)
        for (key, value), (other_key, tensor) in pairs:
            assert key == other_key
            assert value.dtype == tensor.dtype
            assert torch.equal(value, tensor), key
        if role == "motion_generator":
            assert network.config == other_network.config
    arrays = second.load_template_arrays()
    for name, array in first.load_template_arrays().items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype


def test_a_converted_folder_is_a_complete_bundle_with_the_same_tensors(bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "new" / "converted"
    written = convert_to_folder(bundle, bundle.spec.roles, out)
    assert {item.role for item in written} == {*LOADED, "motion_template"}
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["bundle.yaml", *(f"{role}.safetensors" for role in (*LOADED, "motion_template"))]
    )
    converted = open_bundle(out)
    assert_same_tensors(bundle, converted)
    assert converted.switches == bundle.switches
    assert converted.get_licenses() == bundle.get_licenses()
    assert all(check.status == "ok" for check in verify_bundle(converted, converted.spec.roles))
    assert not list(out.parent.glob(".converted*"))


def test_a_converted_file_contains_the_hash_of_its_source_and_the_arguments_in_use(
    bundle: Bundle, tmp_path: Path
) -> None:
    convert_to_folder(bundle, ["motion_generator"], tmp_path / "out")
    with safe_open(tmp_path / "out/motion_generator.safetensors", framework="pt") as file:
        metadata = file.metadata()
        assert "denoising_net.TE.pe" not in file.keys()
    assert metadata["source_sha256"] == bundle.spec.roles["motion_generator"].sha256
    weights = open_bundle(tmp_path / "out").load_weights("motion_generator")
    assert weights.arguments["n_diff_steps"] == 8
    assert weights.arguments["audio_model"] == "hubert_zh_ori"
    assert "n_layers" not in weights.arguments


def test_files_converted_in_place_are_used_and_can_replace_the_pickles(bundle: Bundle, published: Path) -> None:
    fingerprint = bundle.compute_fingerprint()
    written = convert_in_place(bundle, bundle.spec.roles)
    assert {item.role for item in written} == {*LOADED, "motion_template"}
    for path in list(bundle.folder.rglob("*")):
        if path.suffix in (".pth", ".pt", ".pkl"):
            path.unlink()
    again = open_bundle(bundle.folder)
    assert again.find_file("lip").suffix == ".safetensors"
    assert_same_tensors(open_bundle(published), again)
    assert again.compute_fingerprint() == fingerprint
    assert all(check.status == "ok" for check in verify_bundle(again, again.spec.roles))


def test_a_file_converted_from_another_source_is_not_used(bundle: Bundle) -> None:
    convert_in_place(bundle, ["lip"])
    role = bundle.spec.roles["lip"].model_copy(update={"sha256": "0" * 64})
    other = bundle.spec.model_copy(update={"roles": bundle.spec.roles | {"lip": role}})
    with pytest.raises(ModelError, match="expected 000"):
        Bundle(other, bundle.folder, bundle.cache).find_file("lip")


def test_a_pickle_that_does_not_fit_is_not_converted(bundle: Bundle, tmp_path: Path) -> None:
    torch.save({"fourth.bias": torch.zeros(3)}, bundle.folder / "liveportrait/base_models/warping_module.pth")
    write_bundle(bundle.folder, small_spec(bundle.folder))
    damaged = open_bundle(bundle.folder)
    for convert in (
        lambda: convert_in_place(damaged, ["lip", "warping_module"]),
        lambda: convert_to_folder(damaged, ["lip", "warping_module"], tmp_path / "out"),
    ):
        with pytest.raises(ModelError, match="does not fit"):
            convert()
    assert not (tmp_path / "out").exists()
    assert not list(bundle.folder.rglob("*warping_module.safetensors*"))
    assert not list(tmp_path.glob(".out*"))


def test_files_without_a_pinned_hash_can_only_be_converted_to_a_folder(bundle: Bundle, tmp_path: Path) -> None:
    write_bundle(bundle.folder, small_spec())
    unpinned = open_bundle(bundle.folder)
    with pytest.raises(ModelError, match="--out"):
        convert_in_place(unpinned, ["lip"])
    convert_to_folder(unpinned, ["lip"], tmp_path / "out")
    assert open_bundle(tmp_path / "out").load_network("lip")


def test_a_non_empty_folder_is_not_overwritten(bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    convert_to_folder(bundle, ["lip"], out)  # an empty folder is accepted
    (out / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="not empty"):
        convert_to_folder(bundle, ["lip"], out)
    assert (out / "mine.txt").read_text() == "keep"


def test_a_folder_that_cannot_be_written_is_one_sentence(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        convert_to_folder(bundle, ["lip"], tmp_path / "file" / "out")
