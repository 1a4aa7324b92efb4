"""Files in the published formats load strictly into the networks."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from joyvasa.bundles import open_bundle
from joyvasa.bundles.hashes import HashCache
from joyvasa.bundles.pretrained import open_pretrained_folder
from joyvasa.bundles.spec import PublishedFile
from joyvasa.bundles.weights import read_template_pickle
from joyvasa.errors import ModelError
from joyvasa.networks import build
from tests.joyvasa.bundles.published import (
    LOADED,
    generator_checkpoint,
    published_template,
    small_network,
    small_spec,
    write_bundle,
    write_published,
)

GENERATOR = "JoyVASA/motion_generator/motion_generator_hubert_chinese.pt"
STITCHING = "liveportrait/retargeting_models/stitching_retargeting_module.pth"


@pytest.fixture(scope="module", params=["zip", "legacy"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_published(tmp_path_factory.mktemp("published"), legacy=request.param == "legacy")
    return write_bundle(path, small_spec(path))


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """Copy of the folder without pinned hashes, which tests may damage."""
    path = tmp_path / "copy"
    shutil.copytree(folder, path)
    return write_bundle(path, small_spec())


@pytest.mark.parametrize("role", LOADED)
def test_every_tensor_of_the_file_is_loaded_into_the_network(folder: Path, role: str) -> None:
    network = open_bundle(folder).load_network(role)
    assert not network.training
    expected = small_network(role).state_dict()
    state = network.state_dict()
    assert state.keys() == expected.keys()
    for key, value in expected.items():
        if key != "denoising_net.TE.pe":
            assert torch.equal(state[key], value), key


def test_the_table_of_steps_is_not_loaded_from_the_file(folder: Path) -> None:
    state = open_bundle(folder).load_network("motion_generator").state_dict()
    fresh = build("motion_generator", **open_bundle("random").spec.roles["motion_generator"].config).state_dict()
    assert torch.equal(state["denoising_net.TE.pe"], fresh["denoising_net.TE.pe"])


def test_sizes_of_the_generator_come_from_its_checkpoint(folder: Path) -> None:
    config = open_bundle(folder).load_network("motion_generator").config
    assert (config.feature_dim, config.n_diff_steps, config.n_prev_motions, config.motion_feat_dim) == (32, 8, 10, 73)
    assert (config.decoder_layers, config.decoder_hidden) == (2, 64)  # not the 6 layers in args


def test_positional_encoding_is_a_switch_of_the_file(folder: Path) -> None:
    bundle = open_bundle(folder)
    assert bundle.switches.positional_encoding == "constant_row"
    assert bundle.load_network("motion_generator").config.positional_encoding == "constant_row"


def test_the_template_is_loaded_unchanged(folder: Path) -> None:
    arrays = open_bundle(folder).load_template_arrays()
    expected = published_template()
    assert arrays.keys() == expected.keys()
    for name, array in expected.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)


def test_the_template_denormalizes_motion(folder: Path) -> None:
    template = open_bundle(folder).load_template()
    motion = template.denormalize(torch.zeros(3, 73))
    assert len(motion) == 3
    assert motion.scale[0].item() == pytest.approx(1.2)
    assert motion.yaw[0].item() == pytest.approx(-10)


def test_a_missing_array_of_the_template_is_named_with_the_bundle(copy: Path) -> None:
    arrays = published_template()
    del arrays["std_exp"]
    (copy / "JoyVASA/motion_template/motion_template.pkl").write_bytes(pickle.dumps(arrays))
    with pytest.raises(ModelError, match=r"bundle joyvasa: .*std_exp"):
        open_bundle(copy).load_template()


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("numpy_name", [b"numpy.core", b"numpy._core"])
def test_templates_of_every_pickle_protocol_and_numpy_are_read(
    tmp_path: Path, protocol: int, numpy_name: bytes
) -> None:
    arrays = {
        "column": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big_endian": np.arange(4, dtype=">f4"),
        "scalar": np.float32(1.5),
        "number": 2.5,
    }
    data = pickle.dumps(arrays, protocol=protocol)
    if protocol < 4:  # later protocols contain the length of names
        data = data.replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", numpy_name)
    path = tmp_path / "template.pkl"
    path.write_bytes(data)
    read = read_template_pickle(path)
    for name, value in arrays.items():
        np.testing.assert_array_equal(read[name], value)


@pytest.mark.parametrize("module", ["pathlib", "pathlib._local"], ids=["python3.11", "python3.13"])
def test_path_objects_of_another_system_can_be_loaded(copy: Path, module: str) -> None:
    data = (copy / GENERATOR).read_bytes()
    posix, windows = (
        f"c{name}\n".encode() for name in (f"{type(copy).__module__}\nPosixPath", f"{module}\nWindowsPath")
    )
    assert posix in data
    checkpoint = generator_checkpoint()
    torch.save(checkpoint, copy / GENERATOR, _use_new_zipfile_serialization=False)
    data = (copy / GENERATOR).read_bytes()
    (copy / GENERATOR).write_bytes(data.replace(posix, windows))
    bundle = open_bundle(copy)
    assert bundle.load_weights("motion_generator").arguments["exp_dir"] == "experiments\\motion_generator"
    assert bundle.load_network("motion_generator")


@pytest.mark.parametrize("fault", ["missing", "extra", "shape"])
def test_keys_that_do_not_fit_are_named_with_file_count_and_shapes(copy: Path, fault: str) -> None:
    path = copy / "liveportrait/base_models/warping_module.pth"
    state = dict(small_network("warping_module").state_dict())
    if fault == "missing":
        for key in [key for key in state if key.startswith("third.")]:
            del state[key]
        expected = ["7 keys missing (third.conv.bias, third.conv.weight, ", " and 4 more"]
    elif fault == "extra":
        state["fifth.weight"] = torch.zeros(2)
        expected = ["1 key not expected (fifth.weight)"]
    else:
        state["fourth.weight"] = torch.zeros(3, 2, 1, 1)
        expected = ["1 key of another shape (fourth.weight has (3, 2, 1, 1), expected (32, 32, 1, 1))"]

    torch.save(state, path)
    with pytest.raises(ModelError) as caught:
        open_bundle(copy).load_network("warping_module")
    assert caught.value.code == "weights_mismatch"
    for text in [str(path), *expected]:
        assert text in caught.value.sentence


def test_a_missing_encoder_key_is_an_error(copy: Path) -> None:
    checkpoint = generator_checkpoint()
    del checkpoint["model"]["audio_encoder.encoder.pos_conv_embed.conv.weight_g"]
    torch.save(checkpoint, copy / GENERATOR)
    with pytest.raises(ModelError, match=r"pos_conv_embed\.conv\.parametrizations\.weight\.original0"):
        open_bundle(copy).load_network("motion_generator")


def test_a_tensor_under_two_names_is_an_error(copy: Path) -> None:
    checkpoint = generator_checkpoint()
    state = checkpoint["model"]
    state["module.null_audio_feat"] = state["null_audio_feat"]
    torch.save(checkpoint, copy / GENERATOR)
    with pytest.raises(ModelError, match="null_audio_feat twice"):
        open_bundle(copy).load_network("motion_generator")


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"motion_feat_dim": 70}, "args say motion_feat_dim 70 but its tensors have 73"),
        ({"n_prev_motions": 25}, "args say n_prev_motions 25 but its tensors have 10"),
        ({"n_motions": 50}, "args say n_motions 50 but its tensors have 100"),
        ({"n_diff_steps": 500}, "args say n_diff_steps 500 but its tensors have 8"),
        ({"audio_model": "whisper"}, "speech encoder 'whisper'"),
    ],
)
def test_arguments_that_contradict_the_tensors_are_an_error(copy: Path, arguments: dict, found: str) -> None:
    torch.save(generator_checkpoint(**arguments), copy / GENERATOR)
    with pytest.raises(ModelError) as caught:
        open_bundle(copy).load_network("motion_generator")
    assert found in caught.value.sentence


def test_a_step_table_that_is_too_short_is_an_error(copy: Path) -> None:
    checkpoint = generator_checkpoint()
    checkpoint["model"]["denoising_net.TE.pe"] = torch.zeros(1, 8, 32)
    torch.save(checkpoint, copy / GENERATOR)
    with pytest.raises(ModelError, match=r"TE\.pe has 8 rows but n_diff_steps is 8"):
        open_bundle(copy).load_network("motion_generator")


def test_a_checkpoint_with_other_sizes_needs_no_other_bundle(copy: Path) -> None:
    sizes = {**open_bundle("random").spec.roles["motion_generator"].config}
    sizes |= {"motion_feat_dim": 70, "n_prev_motions": 25, "n_diff_steps": 20, "decoder_layers": 3}
    network = build("motion_generator", **sizes)
    arguments = {"motion_feat_dim": 70, "n_prev_motions": 25, "n_diff_steps": 20, "audio_model": "wav2vec2"}
    content = generator_checkpoint(**arguments) | {"model": dict(network.state_dict())}
    torch.save(content, copy / GENERATOR)
    config = open_bundle(copy).load_network("motion_generator").config
    assert (config.motion_feat_dim, config.n_prev_motions, config.decoder_layers) == (70, 25, 3)


def test_the_folder_of_the_reference_needs_no_bundle_yaml(tmp_path: Path) -> None:
    """Uses the published sizes of two networks that are small."""
    for name, file in {
        "appearance_feature_extractor": "liveportrait/base_models/appearance_feature_extractor.pth",
        "lip": STITCHING,
    }.items():
        path = tmp_path / file
        path.parent.mkdir(parents=True)
        state = build(name).state_dict()
        torch.save(
            {"retarget_mouth": {f"module.{key}": value for key, value in state.items()}} if name == "lip" else state,
            path,
        )

    bundle = open_bundle(tmp_path)
    assert bundle.load_network("lip")
    assert bundle.load_network("appearance_feature_extractor")
    assert not bundle.has_role("motion_generator")
    with pytest.raises(ModelError, match=r"needs .*motion_generator_hubert_chinese\.pt"):
        bundle.require_roles(["lip", "motion_generator"])


@pytest.mark.slow
def test_a_generator_of_published_size_loads_from_the_folder_of_the_reference(tmp_path: Path) -> None:
    """Writes and reads 414 MB; all sizes come from the file."""
    network = build("motion_generator_train")
    path = tmp_path / "JoyVASA/motion_generator/iter_0020000.pt"
    path.parent.mkdir(parents=True)
    arguments = {"motion_feat_dim": 70, "n_prev_motions": 25, "feature_dim": 256, "n_diff_steps": 50}
    torch.save(generator_checkpoint(**arguments) | {"model": network.state_dict()}, path)
    loaded = open_bundle(tmp_path).load_network("motion_generator")
    assert (loaded.config.motion_feat_dim, loaded.config.n_prev_motions) == (70, 25)
    assert torch.equal(loaded.state_dict()["start_motion_feat"], network.state_dict()["start_motion_feat"])


def _with_generators(folder: Path, **files: bytes) -> Path:
    for name, data in files.items():
        path = folder / f"JoyVASA/motion_generator/{name}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.mark.parametrize(
    ("files", "selected", "version", "normalization"),
    [
        ({"motion_generator_hubert_chinese": b"new"}, "motion_generator_hubert_chinese", "v2", "none"),
        ({"iter_0020000": b"new"}, "iter_0020000", "v2", "none"),
        ({"iter_0020000": b"old"}, "iter_0020000", "v1", "zero_mean_unit_variance"),
        (
            {"motion_generator_hubert_chinese": b"old"},
            "motion_generator_hubert_chinese",
            "v1",
            "zero_mean_unit_variance",
        ),
        (
            {"motion_generator_hubert_chinese": b"old", "iter_0020000": b"new"},
            "iter_0020000",
            "v2",
            "none",
        ),
        (
            {"motion_generator_hubert_chinese": b"mine", "iter_0020000": b"old"},
            "iter_0020000",
            "v1",
            "zero_mean_unit_variance",
        ),
        ({"iter_0009000": b"mine", "iter_0050000": b"mine too"}, "iter_0050000", "unpublished", "none"),
        ({"iter_0020000": b"mine"}, "iter_0020000", "unpublished", "none"),  # the name of a published file
    ],
)
def test_the_newest_published_generator_of_a_folder_is_used(
    tmp_path: Path, files: dict[str, bytes], selected: str, version: str, normalization: str
) -> None:
    import hashlib

    spec = open_bundle("joyvasa").spec
    role = spec.roles["motion_generator"]

    def pinned(file: PublishedFile, data: bytes) -> dict[str, object]:
        return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    older = role.older[0].model_copy(update=pinned(role.older[0], b"old"))
    role = role.model_copy(update=pinned(role, b"new") | {"older": [older]})
    spec = spec.model_copy(update={"roles": spec.roles | {"motion_generator": role}})
    folder = _with_generators(tmp_path / "pretrained_weights", **files)
    bundle = open_pretrained_folder(folder, spec, HashCache(tmp_path / "hashes.json"))
    role = bundle.spec.roles["motion_generator"]
    assert (Path(str(role.file)).stem, role.version) == (selected, version)
    assert bundle.switches.audio_normalization == normalization
    assert bundle.name == "pretrained_weights"
    if len(files) > 1 or version != "v2":
        assert any(selected in note for note in bundle.notes)
    if version == "unpublished":
        (note,) = (note for note in bundle.notes if note.startswith("motion_generator"))
        assert "assuming positional_encoding=constant_row, audio_normalization=none" in note
        assert f"joyvasa models convert {folder} --out NEW" in note


ANIMALS = ("appearance_feature_extractor", "motion_extractor", "warping_module", "spade_generator")
V10, V11 = "base_models", "base_models_v1.1"


@pytest.mark.parametrize(
    ("files", "selected", "noted"),
    [
        ({V11: ANIMALS}, V11, False),
        ({V10: ANIMALS}, V10, True),
        ({V10: ANIMALS, V11: ANIMALS}, V11, True),
        ({V10: ANIMALS, V11: ANIMALS[:3]}, V10, True),  # an unfinished download of v1.1
        ({V10: ANIMALS[:2], V11: ANIMALS[2:]}, V11, False),  # neither is complete: missing files of v1.1 are reported
    ],
)
def test_networks_for_animals_have_one_version(
    tmp_path: Path, files: dict[str, tuple[str, ...]], selected: str, noted: bool
) -> None:
    for version, names in files.items():
        for name in names:
            path = tmp_path / "liveportrait_animals" / version / f"{name}.pth"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"weights")
    bundle = open_bundle(tmp_path)
    folders = {Path(str(bundle.spec.roles[f"animal_{name}"].file)).parent.name for name in ANIMALS}
    assert folders == {selected}
    assert any(note.startswith("animals: using version") for note in bundle.notes) == noted
    available = {name for name in ANIMALS if bundle.has_role(f"animal_{name}")}
    assert available == set(files[selected])


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links here")
def test_the_reference_folder_may_link_to_files_elsewhere_but_a_bundle_may_not(folder: Path, tmp_path: Path) -> None:
    moved, linked = tmp_path / "elsewhere.pth", tmp_path / "copy"
    shutil.copytree(folder, linked)
    path = linked / STITCHING
    path.rename(moved)
    path.symlink_to(moved)
    with pytest.raises(ModelError, match="link that leads out of the bundle"):
        open_bundle(linked).load_network("lip")
    (linked / "bundle.yaml").unlink()
    assert open_bundle(linked).find_file("lip") == path
