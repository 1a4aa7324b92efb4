"""Results and activations of the image networks equal the reference."""

import contextlib

import numpy as np
import pytest
import torch

from joyvasa.networks import build
from joyvasa.networks import warping_module as warping
from tests.golden.reference import FORMS, Section, fill

both_forms = pytest.mark.parametrize("form", FORMS)


def run(network, module_names, *arguments, **keywords):
    """Call a network; return the result and the outputs of the named modules."""
    outputs = {}

    def record(name):
        return lambda module, inputs, output: outputs.__setitem__(name, output.clone())

    with contextlib.ExitStack() as stack, torch.inference_mode():
        for name, path in module_names.items():
            stack.callback(network.get_submodule(path).register_forward_hook(record(name)).remove)
        return network(*arguments, **keywords), outputs


def image_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None] / 255


@both_forms
def test_appearance_feature_extractor_matches(form):
    section = Section("F")
    network = fill(build("appearance_feature_extractor"), "appearance_feature_extractor", form)
    modules = {
        "first": "first",
        "down0": "down_blocks.0",
        "down1": "down_blocks.1",
        "second": "second",
        "res0": "resblocks_3d.3dr0",
        "res5": "resblocks_3d.3dr5",
    }
    volume, activations = run(network, modules, section.input("image"))
    for name in modules:
        section.check(name, activations[name], 1e-4)
    section.check("feature_3d", volume, 1e-4)


@both_forms
def test_motion_extractor_matches(form):
    section = Section("M")
    network = fill(build("motion_extractor"), "motion_extractor", form)
    image = torch.cat([section.input("image"), image_tensor(section.input("image_smooth"))])
    modules = {
        "stem": "detector.downsample_layers.0",
        "block0_grn": "detector.stages.0.0.grn",
        **{f"stage{i}": f"detector.stages.{i}" for i in range(4)},
        "pooled_norm": "detector.norm",
    }
    heads, activations = run(network, modules, image)
    for name in modules:
        section.check(name, activations[name], 1e-4)
    assert set(heads) == {"pitch", "yaw", "roll", "t", "exp", "scale", "kp"}
    for name, value in heads.items():
        section.check(name, value, 1e-4)


@pytest.fixture(scope="module")
def warping_section():
    section = Section("W")
    source = section.input("kp_source")
    return section, section.input("feature_3d"), source, source + section.input("kp_delta")


@pytest.mark.slow
@both_forms
def test_warping_module_matches(warping_section, form):
    section, feature, source, driving = warping_section
    network = fill(build("warping_module"), "warping_module", form)
    dense = "dense_motion_network"
    modules = {
        "dense_compress": f"{dense}.compress",
        "compressed_norm": f"{dense}.norm",
        "enc0": f"{dense}.hourglass.encoder.down_blocks.0",
        "enc4": f"{dense}.hourglass.encoder.down_blocks.4",
        "dec0": f"{dense}.hourglass.decoder.up_blocks.0",
        "hourglass": f"{dense}.hourglass",
        "mask_logits": f"{dense}.mask",
        "occlusion_logits": f"{dense}.occlusion",
        "third": "third",
        "fourth": "fourth",
    }
    result, activations = run(network, modules, feature, kp_source=source, kp_driving=driving)

    compressed = torch.relu(activations.pop("compressed_norm"))
    grid = warping.identity_grid(16, 64, 64, feature.device)
    shifted = warping.sample_shifted(compressed, grid, warping.keypoint_shifts(source, driving))
    section.check("deformed_feature", shifted.transpose(1, 2), 2e-4)

    for name in ("third", "fourth"):
        section.check(name, activations.pop(name), 2e-3)
    for name, value in activations.items():
        section.check(name, value, 2e-4)
    section.check("deformation", result["deformation"], 2e-4)
    section.check("occlusion_map", result["occlusion_map"], 2e-4)
    section.check("out", result["out"], 2e-3)


def test_dense_motion_steps_match(warping_section):
    section, feature, source, driving = warping_section
    grid = warping.identity_grid(16, 64, 64, feature.device)
    shifts = warping.keypoint_shifts(source, driving)
    section.check("sparse_motions", grid + shifts[:, :, None, None, None], 1e-5)
    section.check("heatmap", warping.heatmap_differences(source, driving, (16, 64, 64))[:, :, None], 1e-5)


@pytest.mark.slow
@both_forms
def test_spade_generator_matches(form):
    section = Section("G")
    network = fill(build("spade_generator"), "spade_generator", form)
    modules = {
        "fc": "fc",
        "spade_norm0": "G_middle_0.norm_0",
        "middle0": "G_middle_0",
        "middle5": "G_middle_5",
        "up0": "up_0",
        "up1": "up_1",
        "conv_img": "conv_img",
    }
    image, activations = run(network, modules, section.input("feature"))
    for name in modules:
        section.check(name, activations[name], 1e-4)
    section.check("image", image, 1e-4)
    section.check("effective_weight_check", network.G_middle_0.conv_0.effective_weight(), 1e-5)


@pytest.mark.parametrize("name", ["stitching", "lip", "eye"])
def test_retargeting_networks_match(name):
    section = Section("S")
    result, _ = run(fill(build(name), name), {}, section.input(f"{name}_in"))
    section.check(name, result, 1e-5)
