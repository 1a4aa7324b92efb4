from dataclasses import replace

import pytest
import torch

from joyvasa.bundles import open_bundle
from joyvasa.bundles.weights import read_weights
from joyvasa.errors import ModelError, OutputError
from joyvasa.training.checkpoint import Checkpoints
from joyvasa.training.export import load_trained_generator, write_bundle, write_published_checkpoint
from joyvasa.training.initialization import build_initial_network
from joyvasa.training.trainer import Trainer
from manifests.storage import open_storage
from tests.joyvasa.training.small import SIZES, small_config

NAME = "denoising_net.feature_proj.weight"


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    files = open_storage(tmp_path_factory.mktemp("run"))
    config = small_config(
        steps=4,
        optimizer={"ema_decay": 0.5},
        network={"positional_encoding": "constant_row"},
        checkpoints={"every_steps": 2},
    )
    Trainer(config, dataset, files).run()
    return files


def test_the_bundle_holds_the_trained_weights_and_their_switches(run, dataset, tmp_path):
    trained = load_trained_generator(run)
    bundle = write_bundle(trained, tmp_path / "mine", base="random")
    network = bundle.load_network("motion_generator")
    state = network.state_dict()
    assert all(torch.equal(state[name], value) for name, value in trained.state.items())
    assert (network.config.n_motions, network.config.n_prev_motions) == (SIZES["n_motions"], SIZES["n_prev_motions"])
    assert network.config.positional_encoding == bundle.switches.positional_encoding == "constant_row"
    assert (bundle.switches.audio_normalization, bundle.switches.audio_padding_samples) == ("none", (0, 0))
    assert torch.equal(bundle.load_template().expression_mean, dataset.load_template().expression_mean)
    assert bundle.get_licenses(["motion_generator"])["motion_generator"].commercial == "unclear"


def test_averaged_weights_are_exported(run):
    tensors = Checkpoints(run).load(4)[1]
    assert torch.equal(load_trained_generator(run, 4).state[NAME], tensors[f"average.{NAME}"])
    assert not torch.equal(tensors[f"average.{NAME}"], tensors[f"model.{NAME}"])


def test_the_best_checkpoint_is_exported_by_default(run):
    assert load_trained_generator(run).progress.step == Checkpoints(run).best_step()
    assert load_trained_generator(run, 2).progress.step == 2
    with pytest.raises(ModelError, match=r"checkpoint_missing: .*step 3 \(found: 2, 4\)"):
        load_trained_generator(run, 3)


def test_a_bundle_without_a_base_holds_only_the_generator(run, tmp_path):
    bundle = write_bundle(load_trained_generator(run), tmp_path / "part")
    assert set(bundle.spec.roles) == {"motion_generator", "motion_template"}
    assert not bundle.synthetic
    assert bundle.load_network("motion_generator").config.n_motions == SIZES["n_motions"]


def test_a_missing_base_is_an_error_and_leaves_no_files(run, tmp_path, monkeypatch):
    monkeypatch.setenv("JOYVASA_MODELS", str(tmp_path / "models"))
    with pytest.raises(ModelError, match="models_missing"):
        write_bundle(load_trained_generator(run), tmp_path / "out/mine", base="joyvasa")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_empty_is_not_changed(run, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="output_exists"):
        write_bundle(load_trained_generator(run), tmp_path)


def test_the_published_layout_is_read_like_a_published_file(run, tmp_path):
    trained = load_trained_generator(run)
    write_published_checkpoint(trained, tmp_path / "iter.pt")
    weights = read_weights(tmp_path / "iter.pt", "pytorch", "model")
    assert all(torch.equal(weights.state[name], value) for name, value in trained.state.items())
    assert weights.arguments["n_prev_motions"] == SIZES["n_prev_motions"]
    assert weights.arguments["diff_schedule"] == "cosine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["iter.pt", "iter.template.pkl"]


@pytest.mark.parametrize("encoding", ["per_token", "constant_row"])
def test_a_published_checkpoint_is_read_with_the_conventions_of_its_training(run, tmp_path, encoding):
    trained = load_trained_generator(run)
    trained = replace(trained, sizes=replace(trained.sizes, positional_encoding=encoding))
    path = tmp_path / "JoyVASA/motion_generator/iter_0020000.pt"
    template = write_published_checkpoint(trained, path)
    (tmp_path / "JoyVASA/motion_template").mkdir()
    template.rename(tmp_path / "JoyVASA/motion_template/motion_template.pkl")
    bundle, expected = open_bundle(tmp_path), write_bundle(trained, tmp_path / "bundle")
    names = ("positional_encoding", "audio_normalization", "audio_padding_samples", "frames_per_second")
    for name in names:
        assert getattr(bundle.switches, name) == getattr(expected.switches, name)
    assert torch.equal(bundle.load_template().expression_mean, expected.load_template().expression_mean)
    (note,) = (note for note in bundle.notes if note.startswith("motion_generator"))
    assert f"it states positional_encoding={encoding}" in note


def test_a_bundle_based_on_a_bundle_is_identical(run, tmp_path):
    first = write_bundle(load_trained_generator(run), tmp_path / "one", base="random")
    again = write_bundle(load_trained_generator(run), tmp_path / "two", base=str(tmp_path / "one"))
    roles = ["motion_generator", "motion_template", "spade_generator"]
    assert first.hash_roles(roles) == again.hash_roles(roles)
    assert open_bundle(tmp_path / "two").compute_fingerprint(roles) == first.compute_fingerprint(roles)


def test_training_starts_from_the_weights_of_an_encoder(tmp_path):
    from safetensors.torch import save_file

    encoder = build_initial_network(small_config(seed=5)).audio_encoder.state_dict()
    file = tmp_path / "model.safetensors"
    save_file({**{f"hubert.{name}": value for name, value in encoder.items()}, "lm_head.weight": torch.ones(2)}, file)
    for source in (file, tmp_path):
        loaded = build_initial_network(small_config(speech_encoder=str(source))).audio_encoder
        assert all(torch.equal(loaded.state_dict()[name], value) for name, value in encoder.items())
    assert not any(value.requires_grad for value in loaded.feature_extractor.parameters())
    assert any(value.requires_grad for value in loaded.encoder.parameters())


def test_an_encoder_of_another_size_is_an_error(tmp_path):
    from safetensors.torch import save_file

    file = tmp_path / "model.safetensors"
    save_file(build_initial_network(small_config()).audio_encoder.state_dict(), file)
    sizes = {"audio_encoder": {**SIZES["audio_encoder"], "intermediate_size": 64}}
    with pytest.raises(ModelError, match=r"weights_mismatch: .*set network\.audio_encoder"):
        build_initial_network(small_config(speech_encoder=str(file), network=sizes))
