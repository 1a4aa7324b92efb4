"""What was trained becomes a bundle."""

import numpy as np
import pytest
import torch

from joyvasa.bundles.registry import SPEC_NAME
from joyvasa.errors import ModelError, OutputError
from joyvasa.networks import build
from joyvasa.sample.training.bundle import ROLES, write_sample_bundle
from joyvasa.sample.training.mesh_points import N_POINTS
from joyvasa.training.export import Trained

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

    class Progress:
        step = 3

    return Trained(Progress(), network.config, network.state_dict(), template)  # type: ignore[arg-type]


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
    return tmp_path


def test_every_role_loads_strictly_and_computes_what_was_trained(work, trained, mean):
    bundle = write_sample_bundle(work, trained, mean, work / "out", licence="MIT")
    states = {task: torch.load(work / f"{task}.pt")["averaged"] for task in ("renderer", "painter")}
    for role, (_, task, prefix) in ROLES.items():
        loaded = bundle.network(role).state_dict()
        if task in states:
            for name, value in loaded.items():
                torch.testing.assert_close(value, states[task][prefix + name], rtol=1e-3, atol=1e-4)
    assert bundle.network("motion_generator").config == trained.sizes
    assert bundle.template().expression_std.tolist() == [1.0] * 63
    assert bundle.licences(["warping_module"])["warping_module"].commercial == "yes"


def test_the_head_of_the_bundle_is_the_mean_head(work, trained, mean):
    from joyvasa.sample.training.corpus import FaceBasis

    head = write_sample_bundle(work, trained, mean, work / "out", licence="MIT").network("motion_extractor").head
    basis = FaceBasis(mean)
    np.testing.assert_allclose(head.mean.numpy(), basis.neutral, atol=1e-2)
    np.testing.assert_allclose(head.opening.numpy(), basis.parts["jaw"], atol=1e-2)


def test_a_bundle_is_replaced_with_its_card_kept_and_nothing_else_is(work, trained, mean):
    out = work / "out"
    write_sample_bundle(work, trained, mean, out, licence="MIT")
    (out / "README.md").write_text("card")
    write_sample_bundle(work, trained, mean, out, licence="MIT")
    assert (out / "README.md").read_text() == "card"
    (work / "other").mkdir()
    (work / "other/precious").touch()
    with pytest.raises(OutputError, match="no bundle"):
        write_sample_bundle(work, trained, mean, work / "other", licence="MIT")
    assert (work / "other/precious").exists()
    assert (out / SPEC_NAME).is_file()


def test_a_part_that_was_not_trained_is_named(work, trained, mean):
    (work / "keypoints.pt").unlink()
    with pytest.raises(ModelError, match=r"keypoints\.pt: not there.*train keypoints first"):
        write_sample_bundle(work, trained, mean, work / "out", licence="MIT")
