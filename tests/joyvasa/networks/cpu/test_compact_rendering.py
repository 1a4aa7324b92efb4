"""Both compact networks in one call render the frames that they render one after the other."""

from dataclasses import replace

import pytest
import torch

from joyvasa.models import Models
from joyvasa.motion.controls import PoseControls
from joyvasa.motion.keypoints import transform_keypoints
from joyvasa.motion.sequence import POSE_SIZE
from joyvasa.networks import build
from joyvasa.networks.cpu import compact_rendering
from joyvasa.networks.cpu.boxes import Box
from joyvasa.networks.cpu.compact_rendering import CompactRendering, fuse_renderer
from joyvasa.networks.cpu.folded import FoldedUNet, fold
from joyvasa.networks.pictures import to_uint8
from joyvasa.options import AnimationConfig
from joyvasa.runtime.device import autocast
from joyvasa.sample.networks.layers import ConvNormRelu, UNet
from joyvasa.sample.networks.points import INNER_LOWER_LIP, INNER_UPPER_LIP, KEYPOINTS, LOWER_LIP
from tests.media import EXAMPLES, MEDIA


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def randomize_norms(network):
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.copy_(0.1 * draw(len(module.running_mean)))
            module.running_var.copy_(0.5 + draw(len(module.running_var)).square())
    return network.eval()


@pytest.fixture(scope="module", params=["compact", "compact_animal"])
def networks(request):
    torch.manual_seed(0)
    return [randomize_norms(build(f"{request.param}_{name}")) for name in ("warping", "generator")]


@pytest.fixture(scope="module")
def portraits():
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return build("compact_appearance")(images), 0.6 * torch.rand(2, KEYPOINTS, 3) - 0.3


@pytest.fixture(scope="module")
def driving(portraits):
    return portraits[1][:1] + 0.05 * draw(3, KEYPOINTS, 3, seed=3)


def render_plain(networks, feature, source, driving):
    warping, generator = networks
    return generator(warping(feature, source, driving)["out"])


@torch.inference_mode()
def test_a_folded_block_equals_convolution_norm_and_activation():
    block = randomize_norms(ConvNormRelu(5, 7, stride=2))
    x = draw(2, 5, 12, 12)
    assert torch.allclose(fold(block)(x), block(x), atol=1e-5)


@torch.inference_mode()
def test_a_folded_u_net_equals_the_u_net():
    network = randomize_norms(UNet(6, (8, 12, 16)))
    x = network.enter(draw(1, 6, 16, 16))
    assert torch.allclose(FoldedUNet(network)(x), network.forward_levels(x), atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_frames_equal_those_of_the_networks_where_paint_may_be(networks, portraits, driving, precision, monkeypatch):
    monkeypatch.setattr(compact_rendering, "PAINT_MARGIN", 9.0)  # everywhere, as random weights paint everywhere
    feature, source = (part[:1] for part in portraits)
    with autocast(torch.device("cpu"), precision):
        expected = render_plain(networks, feature, source, driving)
        actual = CompactRendering(*networks)(feature, source, driving)
    assert (actual - expected).abs().max() < (1e-4 if precision == "fp32" else 0.1)


@torch.inference_mode()
def test_far_from_lips_and_lids_nothing_is_painted(networks, portraits, monkeypatch):
    feature, source = (part[:1] for part in portraits)
    source = 0.1 * source  # all keypoints are in the middle
    pixels = networks[1].forward_layers(networks[0](feature, source, source)["out"])[1]
    frame = CompactRendering(*networks)(feature, source, source)
    changed = ((frame - pixels).abs().amax(1)[0] > 1e-4).nonzero()
    assert 16 <= changed.min() < changed.max() < 48  # of 64 pixels


@torch.inference_mode()
def test_frames_are_identical_for_every_batch_also_of_several_portraits(networks, portraits, driving):
    feature, source = portraits
    rendering = CompactRendering(*networks)
    order = torch.tensor([0, 1, 0])
    mixed = rendering(feature[order], source[order], driving)
    for i, portrait in enumerate(order.tolist()):
        alone = CompactRendering(*networks)(feature[portrait, None], source[portrait, None], driving[i, None])
        assert torch.equal(mixed[i], alone[0])


@torch.inference_mode()
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("moving_portrait", [False, True])
def test_frames_are_identical_for_every_number_of_threads(networks, portraits, driving, precision, moving_portrait):
    feature, source = (part[torch.tensor([0, 1, 0])] for part in portraits)
    n_threads = torch.get_num_threads()
    frames = []
    try:
        for n in (1, 3):
            torch.set_num_threads(n)
            with autocast(torch.device("cpu"), precision):
                rendering = CompactRendering(*networks)
                frames.append(rendering(feature, source, driving, moving_portrait=moving_portrait))
    finally:
        torch.set_num_threads(n_threads)
    assert torch.equal(*frames)


@torch.inference_mode()
def test_motion_of_moving_portraits_is_refined_everywhere(networks, portraits, driving, monkeypatch):
    monkeypatch.setattr(compact_rendering, "PAINT_MARGIN", 9.0)
    feature, source = (part[torch.tensor([0, 1, 0])] for part in portraits)
    rendering = CompactRendering(*networks)
    frames = rendering(feature, source, driving, moving_portrait=True)
    assert (frames - render_plain(networks, feature, source, driving)).abs().max() < 1e-4
    assert rendering._portrait is None


@torch.inference_mode()
def test_the_built_in_model_renders_nearly_the_same_pixels():
    models = Models(AnimationConfig(device="cpu"))
    portrait = models.encoder.encode([models.read_picture(EXAMPLES / "portrait.jpg")])[0]
    source = transform_keypoints(portrait.keypoints)
    driving = source + 0.03 * draw(2, 1, 3) + 0.005 * draw(2, KEYPOINTS, 3)
    networks = models.network("warping_module"), models.network("spade_generator")
    expected = to_uint8(render_plain(networks, portrait.feature, source, driving))
    actual = models.renderer.render(portrait.feature, source, driving)
    difference = (actual.int() - expected.int()).abs()
    assert (difference > 1).float().mean() < 1e-3  # next to the box of motion
    assert difference.max() <= 8


# Offsets of the pose within usual motion and at the limits of the controls, in degrees.
USUAL_POSES = ({}, {"yaw": 8.0}, {"pitch": -8.0}, {"roll": 12.0})
POSES = (
    *USUAL_POSES,
    *({"yaw": 30.0}, {"yaw": -30.0}, {"pitch": 30.0}, {"roll": 30.0}, {"yaw": 30.0, "pitch": -30.0, "roll": 30.0}),
)
PEOPLE = [*(EXAMPLES / f"{name}.jpg" for name in ("portrait", "portrait_2", "astronaut", "demo")),
          *sorted((MEDIA / "portraits").glob("*.jpg"))]  # fmt: skip


def drive_to_edges(models, portrait, poses):
    """Return source keypoints and driving ones: in each pose, a neutral face, an open mouth, and strong noise."""
    coefficients = torch.zeros(3, 3 * KEYPOINTS + POSE_SIZE)
    coefficients[:, 3 * KEYPOINTS :] = 0.5  # of the range of the training data
    expressions = coefficients[:, : 3 * KEYPOINTS].unflatten(1, (KEYPOINTS, 3))  # in standard deviations
    expressions[1, [LOWER_LIP, INNER_LOWER_LIP], 1] = 4
    expressions[1, INNER_UPPER_LIP, 1] = -3
    expressions[2] = 2 * draw(KEYPOINTS, 3)
    motion, driving = models.template.denormalize(coefficients), []
    for pose in poses:
        driver = models.build_driver(portrait, motion, replace(models.config, pose=PoseControls(**pose)))
        driving.append(driver.keypoints(motion))
    return driver.source_keypoints, torch.cat(driving)


def check_frames(models, path, poses):
    portrait = models.encoder.encode([models.read_picture(path)])[0]
    source, driving = drive_to_edges(models, portrait, poses)
    networks = models.network("warping_module"), models.network("spade_generator")
    for keypoints in driving.split(1):
        expected = to_uint8(render_plain(networks, portrait.feature, source, keypoints)).int()
        actual = models.renderer.render(portrait.feature, source, keypoints).int()
        error = (actual - expected).square().double().mean()
        assert (actual - expected).abs().max() <= 1 or 10 * torch.log10(255**2 / error) > 60


@torch.inference_mode()
def test_frames_of_a_portrait_are_those_of_the_networks_at_the_edges_of_motion():
    check_frames(Models(AnimationConfig(device="cpu")), EXAMPLES / "officer.jpg", [{"roll": 12.0}, {"yaw": -30.0}])


@pytest.mark.slow
@pytest.mark.parametrize("path", [EXAMPLES / "officer.jpg", *PEOPLE], ids=lambda path: path.stem)
@torch.inference_mode()
def test_frames_of_every_portrait_are_those_of_the_networks_at_the_edges_of_motion(path):
    check_frames(Models(AnimationConfig(device="cpu")), path, POSES)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["joyvasa_001", "joyvasa_002", "s30", "s32"])
@torch.inference_mode()
def test_frames_of_animals_are_those_of_the_networks_in_usual_motion(name):
    models = Models(AnimationConfig(device="cpu", mode="animal"))
    check_frames(models, MEDIA / f"animals/{name}.jpg", USUAL_POSES)


def test_only_the_pair_of_compact_networks_is_fused(networks):
    warping, generator = networks
    assert fuse_renderer(warping, generator) is not None
    assert fuse_renderer(warping, torch.nn.Identity()) is None
    assert fuse_renderer(torch.nn.Identity(), generator) is None


def test_boxes_contain_their_points_and_stay_inside_the_map():
    box = Box.around((-3.0, 5.5), (7.2, 100.0), 16)
    assert (box.left, box.top, box.right, box.bottom) == (0, 4, 8, 16)
    assert box.grow(2, 16) == Box(0, 2, 10, 16)
    assert box.within(box.grow(2, 16)) == Box(0, 2, 8, 14)
    assert box.cut(torch.zeros(3, 32, 32), 2).shape == (3, 24, 16)
    assert Box.around((20.0, 1.0), (25.0, 2.0), 16).empty
