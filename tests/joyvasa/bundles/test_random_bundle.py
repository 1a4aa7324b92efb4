"""The bundle of seeded random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from joyvasa.bundles import Bundle, open_bundle
from joyvasa.errors import ModelError


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle("random")


def test_the_bundle_is_synthetic_and_needs_no_file(bundle: Bundle) -> None:
    assert bundle.synthetic
    assert not open_bundle("joyvasa").synthetic
    bundle.require_roles(bundle.spec.roles_for_mode("human"))
    bundle.require_roles(bundle.spec.roles_for_mode("animal"))
    with pytest.raises(ModelError, match="generated and has no file"):
        bundle.find_file("lip")


def test_weights_are_independent_of_the_order_of_loading_and_of_the_global_seed(bundle: Bundle) -> None:
    first = {role: bundle.load_network(role).state_dict() for role in ("warping_module", "motion_generator", "lip")}
    torch.manual_seed(99)
    for role in reversed(first):
        state = open_bundle("random").load_network(role).state_dict()
        assert all(torch.equal(state[key], value) for key, value in first[role].items())


def test_loading_does_not_change_the_global_random_state(bundle: Bundle) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    bundle.load_network("lip")
    assert torch.equal(torch.rand(3), expected)


def test_the_fingerprint_is_stable(bundle: Bundle) -> None:
    assert bundle.compute_fingerprint() == open_bundle("random").compute_fingerprint()


@pytest.fixture(scope="module")
def source(bundle: Bundle) -> tuple[Tensor, Tensor]:
    """Feature volume and keypoints of a structured picture."""
    size = bundle.switches.input_size
    axis = torch.linspace(-1, 1, size)
    spot = torch.exp(-8 * (axis[None] ** 2 + axis[:, None] ** 2))
    picture = torch.stack([spot, axis.expand(size, size) / 2 + 0.5, 1 - spot])[None]
    with torch.inference_mode():
        heads = bundle.load_network("motion_extractor")(picture)
        feature = bundle.load_network("appearance_feature_extractor")(picture)
    keypoints = heads["scale"][:, None] * (heads["kp"] + heads["exp"]).view(1, -1, 3)
    return feature, keypoints


def render(bundle: Bundle, source: tuple[Tensor, Tensor], driving: Tensor) -> Tensor:
    feature, keypoints = source
    with torch.inference_mode():
        warped = bundle.load_network("warping_module")(feature, kp_source=keypoints, kp_driving=driving)
        return bundle.load_network("spade_generator")(warped["out"])


def test_pictures_are_finite_have_contrast_and_move_with_the_keypoints(
    bundle: Bundle, source: tuple[Tensor, Tensor]
) -> None:
    keypoints = source[1]
    still = render(bundle, source, keypoints)
    size = bundle.switches.output_size
    assert still.shape == (1, 3, size, size)
    assert still.isfinite().all()
    assert still.std() > 0.05
    moved = render(bundle, source, keypoints + torch.tensor([0.05, 0.0, 0.0]))
    assert (moved - still).abs().mean() > 4 / 255
    assert torch.equal(render(bundle, source, keypoints), still)


def test_keypoints_span_a_volume(source: tuple[Tensor, Tensor]) -> None:
    """The expression-friendly option divides by their spread."""
    spread = source[1][0].std(dim=0)
    assert (spread > 0.1).all()


def test_motion_is_in_a_realistic_range(bundle: Bundle) -> None:
    generator = bundle.load_network("motion_generator")
    with torch.inference_mode():
        audio = generator.encode(torch.randn(1, 64_000, generator=torch.Generator().manual_seed(1)) / 10)
        motion = generator.sample(audio, generator=torch.Generator().manual_seed(2))[0]
    assert motion.isfinite().all()
    assert motion.abs().max() < 2
    arrays = bundle.load_template_arrays()
    scale = motion[:, 63].numpy() * (arrays["max_scale"] - arrays["min_scale"]) + arrays["min_scale"]
    assert scale.min() > 0.5
    assert motion.std(dim=0).mean() > 0.02  # the motion is not constant


def test_the_template_has_the_published_arrays(bundle: Bundle) -> None:
    arrays = bundle.load_template_arrays()
    sizes = {"scale": 1, "t": 3, "exp": 63, "pitch": 1, "yaw": 1, "roll": 1}
    for statistic in ("mean", "std", "min", "max"):
        for name, size in sizes.items():
            assert arrays[f"{statistic}_{name}"].shape == (size,)
            assert arrays[f"{statistic}_{name}"].dtype == np.float32
    for name in sizes:
        assert (arrays[f"min_{name}"] < arrays[f"max_{name}"]).all()


def test_no_file_is_written(bundle: Bundle, models_home: Path) -> None:
    bundle.load_network("lip")
    bundle.compute_fingerprint()
    assert not models_home.exists()
