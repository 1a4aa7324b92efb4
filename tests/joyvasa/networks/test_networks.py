import json
import warnings

import pytest
import torch

from joyvasa.errors import ConfigError
from joyvasa.networks import NETWORKS, build
from joyvasa.networks.cpu import accelerate
from joyvasa.networks.spade_generator import SpectralNormConv2d
from joyvasa.networks.warping_module import heatmap_differences, identity_grid, keypoint_shifts, sample_shifted
from tests.golden.reference import FORMS, GOLDEN

IMAGE_NETWORKS = [
    "appearance_feature_extractor",
    "motion_extractor",
    "warping_module",
    "spade_generator",
    "stitching",
    "lip",
    "eye",
]

# 10 keypoints, images of 64 x 64, feature volumes of 6 x 4 x 16 x 16.
SMALL = {
    "appearance_feature_extractor": {"base_channels": 4, "channels": 6, "depth": 4, "residual_blocks": 2},
    "motion_extractor": {"keypoints": 10, "depths": [1, 2], "widths": [8, 12]},
    "warping_module": {
        "keypoints": 10,
        "channels": 6,
        "depth": 4,
        "out_channels": 12,
        "compressed_channels": 2,
        "hourglass_channels": 4,
        "hourglass_max_channels": 16,
        "hourglass_blocks": 3,
    },
    "spade_generator": {
        "channels": 12,
        "middle_channels": 16,
        "middle_blocks": 1,
        "up_channels": [8],
        "hidden_channels": 8,
        "upscale": 2,
    },
    "stitching": {"keypoints": 10, "hidden": [16]},
    "lip": {"keypoints": 10, "hidden": [16]},
    "eye": {"keypoints": 10, "hidden": [16, 8]},
}


@pytest.fixture(params=FORMS)
def small(request):
    """Return a function that builds a small network, plain or accelerated."""

    def build_small(name):
        torch.manual_seed(7)
        network = build(name, **SMALL[name])
        return accelerate(network) if request.param == "accelerated" else network

    return build_small


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(3)
    with torch.no_grad():
        yield


@pytest.fixture
def keypoints():
    return torch.rand(2, 10, 3) - 0.5


def run_image_networks(small, image, keypoints):
    """Run the four small image networks in sequence; return the result of each."""
    feature = small("appearance_feature_extractor")(image)
    heads = small("motion_extractor")(image)
    warped = small("warping_module")(feature, kp_source=keypoints, kp_driving=keypoints.flip(1))
    return feature, heads, warped, small("spade_generator")(warped["out"])


@pytest.mark.parametrize("name", IMAGE_NETWORKS)
def test_default_sizes_have_the_keys_of_the_published_file(name):
    expected = {key: shape for key, shape, _ in json.loads((GOLDEN / f"keys/{name}.json").read_text())["keys"]}
    with torch.device("meta"):
        network = build(name)
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == expected


def test_configured_sizes_match(small, keypoints):
    feature, heads, warped, result = run_image_networks(small, torch.rand(2, 3, 64, 64), keypoints)
    assert feature.shape == (2, 6, 4, 16, 16)
    assert {name: value.shape[1] for name, value in heads.items()} == {
        "pitch": 66, "yaw": 66, "roll": 66, "t": 3, "exp": 30, "scale": 1, "kp": 30,
    }  # fmt: skip
    assert warped["out"].shape == (2, 12, 16, 16)
    assert warped["deformation"].shape == (2, 4, 16, 16, 3)
    assert warped["occlusion_map"].shape == (2, 1, 16, 16)
    assert result.shape == (2, 3, 64, 64)
    assert 0 < result.min() < result.max() < 1


@pytest.mark.parametrize(("name", "inputs", "outputs"), [("stitching", 60, 32), ("lip", 32, 30), ("eye", 33, 30)])
def test_retargeting_sizes_follow_the_number_of_keypoints(small, name, inputs, outputs):
    assert small(name)(torch.rand(3, inputs)).shape == (3, outputs)


def test_networks_are_built_in_eval_mode_on_the_cpu(small):
    for name in IMAGE_NETWORKS:
        network = small(name)
        assert not any(module.training for module in network.modules())
        assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_results_by_rounding_only(small, keypoints, dtype):
    image = torch.rand(2, 3, 64, 64)
    exact = run_image_networks(small, image, keypoints)
    with torch.autocast("cpu", dtype=dtype), warnings.catch_warnings():
        warnings.simplefilter("error")  # for example, if autocast does not support this type
        rounded = run_image_networks(small, image, keypoints)
    for full, low in zip([*exact[1].values(), *exact[2].values(), exact[3]],
                         [*rounded[1].values(), *rounded[2].values(), rounded[3]], strict=True):  # fmt: skip
        assert low.dtype == torch.float32
        assert (low - full).abs().max() < 0.05 * max(1, full.abs().max())
    assert not torch.equal(exact[3], rounded[3])


def test_autocast_leaves_the_grid_exact(small, keypoints):
    """Without shifts, the deformation must be the grid itself."""
    feature = torch.rand(2, 6, 4, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        warped = small("warping_module")(feature, kp_source=keypoints, kp_driving=keypoints)
    assert torch.equal(warped["deformation"][0], identity_grid(4, 16, 16, feature.device))


def test_one_portrait_in_many_poses_equals_the_repeated_portrait(small, keypoints):
    network = small("warping_module")
    feature = torch.rand(1, 6, 4, 16, 16)
    source = torch.rand(1, 10, 3) - 0.5
    shared = network(feature, kp_source=source, kp_driving=keypoints)
    repeated = network(feature.repeat(2, 1, 1, 1, 1), kp_source=source.repeat(2, 1, 1), kp_driving=keypoints)
    for name, value in repeated.items():
        torch.testing.assert_close(shared[name], value)


def test_grid_runs_from_border_to_border_in_x_y_z():
    grid = identity_grid(2, 3, 5, torch.device("cpu"))
    assert grid.shape == (2, 3, 5, 3)
    assert grid[0, 0].T[0].tolist() == [-1, -0.5, 0, 0.5, 1]
    assert grid[0, :, 0, 1].tolist() == [-1, 0, 1]
    assert grid[:, 0, 0, 2].tolist() == [-1, 1]


def test_heatmaps_are_positive_at_the_driving_and_negative_at_the_source_keypoint():
    source, driving = torch.tensor([[[-1.0, 0.0, -1.0]]]), torch.tensor([[[1.0, 1.0, 1.0]]])
    heatmaps = heatmap_differences(source, driving, (2, 3, 5))
    assert heatmaps.shape == (1, 2, 2, 3, 5)
    assert (heatmaps[:, 0] == 0).all()
    assert heatmaps[0, 1, 1, 2, 4] == 1  # z, y, x
    assert heatmaps[0, 1, 0, 1, 0] == -1


def test_a_shifted_sample_looks_up_the_feature_at_the_source_keypoint():
    feature = torch.zeros(1, 1, 4, 8, 8)
    feature[..., 5] = 1  # a plane of constant x
    grid = identity_grid(4, 8, 8, feature.device)
    one_cell = torch.tensor([[[2 / 8, 0.0, 0.0]]])  # 8 cells span 2 in the convention of sampling
    shifts = keypoint_shifts(kp_source=one_cell, kp_driving=torch.zeros(1, 1, 3))
    shifted = sample_shifted(feature, grid, shifts)[0, 0]
    background, moved = shifted[0, 2, 4], shifted[1, 2, 4]
    assert background.argmax() == 5
    assert moved.argmax() == 4


def test_spectral_norm_divides_by_the_largest_singular_value():
    layer = SpectralNormConv2d(5, 7, kernel_size=3)
    for _ in range(200):
        layer(torch.rand(1, 5, 4, 4))
    assert torch.linalg.matrix_norm(layer.effective_weight().flatten(1), 2) == pytest.approx(1, abs=1e-4)


def test_spectral_norm_does_not_update_its_vectors_in_eval_mode():
    layer = SpectralNormConv2d(5, 7, kernel_size=3, bias=False).eval()
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    layer(torch.rand(1, 5, 4, 4))
    assert set(before) == {"weight_orig", "weight_u", "weight_v"}
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())


def test_an_unknown_network_is_refused_with_the_known_names():
    with pytest.raises(ConfigError, match=r"unknown_network: hourglass: .*motion_extractor, warping_module") as error:
        build("hourglass")
    assert all(name in str(error.value) for name in NETWORKS)


def test_an_unknown_option_is_refused_with_the_known_ones():
    with pytest.raises(
        ConfigError, match=r"unknown_network_option: lip: found kyepoints; expected .*keypoints, hidden"
    ):
        build("lip", kyepoints=10)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lip", {"keypoints": 0}, "LipConfig.keypoints: found 0"),
        ("lip", {"keypoints": 2.5}, "LipConfig.keypoints: found 2.5"),
        ("lip", {"hidden": []}, "LipConfig.hidden: found ()"),
        ("lip", {"hidden": ["wide"]}, "LipConfig.hidden: found ('wide',)"),
        (
            "appearance_feature_extractor",
            {"down_blocks": 10**9},
            "down_blocks: found 1000000000; expected at most 1000",
        ),
        (
            "motion_extractor",
            {"depths": (3, 3, 10**9, 3)},
            "depths: found (3, 3, 1000000000, 3); expected at most 1000",
        ),
        ("motion_extractor", {"depths": (3, 3)}, "MotionExtractorConfig: found 2 depths and 4 widths"),
        ("motion_extractor", {"pose_bins": 60}, "MotionExtractorConfig.pose_bins: found 60"),
    ],
)
def test_a_bad_size_is_refused_by_name(name, options, message):
    with pytest.raises(ConfigError, match="bad_network_size") as error:
        build(name, **options)
    assert message in str(error.value)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_cuda_device_agrees_with_the_cpu(small, keypoints, dtype):
    image = torch.rand(1, 3, 64, 64)
    for name, arguments in {
        "appearance_feature_extractor": (image,),
        "motion_extractor": (image,),
        "warping_module": (torch.rand(1, 6, 4, 16, 16), keypoints[:1], keypoints[1:]),
        "spade_generator": (torch.rand(1, 12, 16, 16),),
    }.items():
        network = small(name)
        expected = network(*arguments)
        with torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):
            actual = network.cuda()(*(argument.cuda() for argument in arguments))
        tolerance = {"rtol": 1e-3, "atol": 1e-3} if dtype == torch.float32 else {"rtol": 0.05, "atol": 0.05}
        torch.testing.assert_close(actual, expected, check_device=False, **tolerance)
