"""Keypoints, and all steps from an image to a rendered frame, equal the reference."""

import pytest
import torch

from joyvasa.motion.keypoints import (
    KeypointInfo,
    degrees_from_bins,
    head_rotation,
    motion_multiplier,
    retargeting_delta,
    stitch_keypoints,
    transform_keypoints,
)
from joyvasa.networks import build
from joyvasa.networks.pictures import to_network_input
from joyvasa.rendering.renderer import Renderer
from tests.golden.reference import FORMS, Section, fill


@pytest.fixture(scope="module", autouse=True)
def without_gradients():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module", params=FORMS)
def form(request):
    return request.param


@pytest.fixture(scope="module")
def motion_extractor(form):
    return fill(build("motion_extractor"), "motion_extractor", form)


@pytest.fixture(scope="module")
def section():
    return Section("kp")


@pytest.fixture(scope="module")
def posed(section):
    """Return the synthetic source and driving keypoints of the section."""
    names = {"pitch": "pitch", "yaw": "yaw", "roll": "roll", "translation": "t", "scale": "scale"}
    info = KeypointInfo(
        expression=section.input("syn_exp"),
        canonical=section.input("syn_kp"),
        **{field: section.input(f"syn_{name}") for field, name in names.items()},
    )
    source = transform_keypoints(info)
    return source, source + section.input("syn_delta")


def test_keypoints_of_an_image_equal_the_reference(section, motion_extractor):
    image = to_network_input(section.input("source_crop"), 256)
    section.check("prepare_source", image, 1e-5)
    heads = motion_extractor(image)
    for name, value in heads.items():
        section.check(f"raw_{name}", value, 1e-5)
    info = KeypointInfo.from_heads(heads)
    fields = {"t": info.translation, "exp": info.expression, "scale": info.scale, "kp": info.canonical}
    for name, value in {"pitch": info.pitch, "yaw": info.yaw, "roll": info.roll, **fields}.items():
        section.check(f"info_{name}", value, 1e-5)
    section.check("R_s", info.rotation, 1e-5)
    section.check("x_s", transform_keypoints(info), 1e-5)


def test_degrees_and_rotations_equal_the_reference(section):
    section.check("bins_degree", degrees_from_bins(section.input("bins")), 1e-5)
    section.check("rotation", head_rotation(*section.input("angles").split(1, dim=1)), 1e-5)


def test_transformed_keypoints_equal_the_reference(section, posed):
    section.check("syn_x", posed[0], 1e-5)


def test_stitched_keypoints_equal_the_reference(section, posed):
    source, driving = posed
    network = fill(build("stitching"), "stitching")
    section.check("stitch_raw", network(torch.cat([source.flatten(1), driving.flatten(1)], dim=1)), 1e-5)
    section.check("stitching_x", stitch_keypoints(network, source, driving), 1e-5)


@pytest.mark.parametrize("part", ["eye", "lip"])
def test_retargeted_keypoints_equal_the_reference(section, posed, part):
    delta = retargeting_delta(fill(build(part), part), posed[0], section.input(f"{part}_ratio"))
    section.check(f"retarget_{part}", delta, 1e-5)


def test_motion_multiplier_equals_the_reference(section, posed):
    source, driving = posed
    section.check("motion_multiplier", motion_multiplier(source[:1], 1.3 * driving[:1]), 1e-5)


def test_a_rendered_image_equals_the_reference(motion_extractor, form):
    section = Section("render")
    names = ("appearance_feature_extractor", "warping_module", "spade_generator", "stitching")
    appearance, warping, generator, stitching = (fill(build(name), name, form) for name in names)

    image = to_network_input(section.input("source_crop"), 256)
    feature = appearance(image)
    source = transform_keypoints(KeypointInfo.from_heads(motion_extractor(image)))
    driving = stitch_keypoints(stitching, source, source + section.input("kp_delta"))
    section.check("x_s", source, 1e-5)
    section.check("x_d", driving, 1e-5)

    floats = []
    hooks = [
        warping.register_forward_hook(lambda module, inputs, result: floats.append(result["occlusion_map"])),
        generator.register_forward_hook(lambda module, inputs, result: floats.append(result)),
    ]
    pixels = Renderer(warping, generator).render(feature, source, driving)
    for hook in hooks:
        hook.remove()
    section.check("occlusion_map", floats[0], 5e-3)
    section.check("image", floats[1], 5e-3)
    section.check("image_uint8", pixels, 0, absolute=2)
    assert pixels.dtype == torch.uint8
