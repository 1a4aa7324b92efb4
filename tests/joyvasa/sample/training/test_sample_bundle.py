"""Writing the bundle from trained networks."""

import numpy as np
import pytest
import torch

from joyvasa.bundles.registry import SPEC_NAME
from joyvasa.errors import ModelError, OutputError
from joyvasa.networks import build
from joyvasa.sample.training.bundle import ROLES, write_sample_bundle
from joyvasa.sample.training.mesh_points import N_POINTS
from joyvasa.training.export import TrainedGenerator

SIZES = {
    "feature_dim": 16, "decoder_layers": 1, "decoder_heads": 2, "decoder_hidden": 16, "motion_feat_dim": 70,
    "compact_encoder": {"hidden_size": 16, "mel_bands": 20, "dilations": [1, 2]},
}  # fmt: skip


@pytest.fixture
def mean():
    draw = np.random.default_rng(0)
    return draw.normal(0, 0.5, (N_POINTS, 3))


@pytest.fixture
def trained():
    network = build("motion_generator", **SIZES)
    template = {"mean_exp": torch.zeros(63), "std_exp": torch.ones(63)}
    for end, value in (("min", 0.0), ("max", 1.0)):
        template |= {f"{end}_{name}": torch.full((size,), value)
                     for name, size in (("scale", 1), ("t", 3), ("pitch", 1), ("yaw", 1), ("roll", 1))}  # fmt: skip

    class TrainingProgress:
        step = 3

    return TrainedGenerator(TrainingProgress(), network.config, network.state_dict(), template)  # type: ignore[arg-type]


@pytest.fixture
def work(tmp_path):
    for task in {task for _, task, _ in ROLES.values()}:
        parts = [(network, prefix) for network, name, prefix in ROLES.values() if name == task]
        state = {}
        for network, prefix in parts:
            module = build(network)
            module = module.finder if task == "keypoints" else module
            state |= {prefix + name: value for name, value in module.state_dict().items()}
        torch.save({"averaged": state}, tmp_path / f"{task}.pt")
    landmarks = build("compact_animal_motion_extractor").landmarks.state_dict()
    torch.save({"averaged": landmarks}, tmp_path / "animals.pt")
    return tmp_path


def test_every_role_loads_with_the_trained_weights(work, trained, mean):
    bundle = write_sample_bundle(work, trained, mean, work / "out")
    states = {task: torch.load(work / f"{task}.pt")["averaged"] for task in ("renderer", "painter")}
    for role, (_, task, prefix) in ROLES.items():
        loaded = bundle.load_network(role).state_dict()
        if task in states:
            for name, value in loaded.items():
                torch.testing.assert_close(value, states[task][prefix + name], rtol=1e-3, atol=1e-4)
    landmarks = bundle.load_network("animal_motion_extractor").landmarks.state_dict()
    for name, value in torch.load(work / "animals.pt")["averaged"].items():
        torch.testing.assert_close(landmarks[name], value, rtol=1e-3, atol=1e-4)
    assert bundle.spec.roles["animal_warping_module"].file == bundle.spec.roles["warping_module"].file
    assert bundle.load_network("motion_generator").config == trained.sizes
    assert bundle.load_template().expression_std.tolist() == [1.0] * 63
    assert bundle.get_licenses(["warping_module"])["warping_module"].commercial == "yes"


def test_the_head_of_the_bundle_is_the_mean_head(work, trained, mean):
    from joyvasa.sample.training.corpus import FaceBasis

    head = write_sample_bundle(work, trained, mean, work / "out").load_network("motion_extractor").head
    basis = FaceBasis(mean)
    np.testing.assert_allclose(head.mean.numpy(), basis.neutral, atol=1e-2)
    np.testing.assert_allclose(head.opening.numpy(), basis.parts["jaw"], atol=1e-2)


def test_a_bundle_is_replaced_except_for_its_card_and_other_folders_are_not(work, trained, mean):
    out = work / "out"
    write_sample_bundle(work, trained, mean, out)
    (out / "README.md").write_text("card")
    write_sample_bundle(work, trained, mean, out)
    assert (out / "README.md").read_text() == "card"
    (work / "other").mkdir()
    (work / "other/precious").touch()
    with pytest.raises(OutputError, match="no bundle"):
        write_sample_bundle(work, trained, mean, work / "other")
    assert (work / "other/precious").exists()
    assert (out / SPEC_NAME).is_file()


def test_a_missing_checkpoint_is_named(work, trained, mean):
    (work / "keypoints.pt").unlink()
    with pytest.raises(ModelError, match=r"keypoints\.pt: not found.*train keypoints first"):
        write_sample_bundle(work, trained, mean, work / "out")
