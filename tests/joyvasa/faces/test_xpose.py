import numpy as np
import pytest
import torch
from torch import nn

from joyvasa.errors import ConfigError
from joyvasa.faces.xpose import XposeDetector, fit_input_size, load_prompts, prepare_xpose_input
from joyvasa.networks import build
from joyvasa.networks.xpose import Predictions
from tests.golden.reference import GOLDEN

# Nine landmarks of a dog's face in the lower half of a picture, as fractions of the picture.
NINE = [(0.3, 0.6), (0.4, 0.6), (0.6, 0.6), (0.7, 0.6), (0.5, 0.7), (0.4, 0.8), (0.6, 0.8), (0.5, 0.78), (0.5, 0.85)]


class FixedNetwork(nn.Module):
    """Network that returns the same boxes for every picture."""

    def __init__(self, *boxes, keypoints=NINE):
        super().__init__()
        self.boxes = torch.tensor([box for box, _ in boxes])[None]
        self.logits = torch.tensor([score for _, score in boxes]).logit()[None, :, None]
        self.keypoints = torch.tensor(keypoints).expand(1, len(boxes), -1, -1)

    def predict(self, image, prompts):
        self.image, self.prompts = image, prompts
        return Predictions(self.boxes, self.keypoints, self.logits)


SMALL_BOX = ([0.2, 0.2, 0.1, 0.1], 0.9)
LARGE_BOX = ([0.5, 0.7, 0.4, 0.4], 0.6)
FAINT = ([0.9, 0.1, 0.1, 0.1], 0.01)


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (200, 400, 3), dtype=np.uint8)


def test_the_best_face_is_returned_in_pixels_of_the_picture(picture):
    (face,) = XposeDetector(network=FixedNetwork(LARGE_BOX, SMALL_BOX, FAINT)).detect(picture)
    assert face.score == pytest.approx(0.9)
    assert face.box.tolist() == pytest.approx([60, 30, 100, 50])
    assert face.box.dtype == face.landmarks.dtype == np.float32
    np.testing.assert_allclose(face.landmarks, np.array(NINE) * [400, 200], rtol=1e-6)


def test_no_face_is_returned_without_any_probability(picture):
    assert XposeDetector(network=FixedNetwork((LARGE_BOX[0], 0.0))).detect(picture) == []


def test_a_face_can_be_cropped_from_its_nine_landmarks(picture):
    (face,) = XposeDetector(network=FixedNetwork(LARGE_BOX)).detect(picture)
    crop = face.crop(picture)
    assert crop.image.shape == (512, 512, 3)
    assert ((crop.landmarks > 0) & (crop.landmarks < 512)).all()
    eyes, mouth = crop.landmarks[:4].mean(axis=0), crop.landmarks[5:7].mean(axis=0)
    assert eyes[0] == pytest.approx(mouth[0], abs=1)  # upright
    assert eyes[1] < mouth[1]


def test_the_network_receives_the_prompts_of_the_requested_layout(picture):
    network = FixedNetwork(LARGE_BOX)
    XposeDetector(network=network).detect(picture)
    assert network.prompts.instances.shape == (1, 512)
    assert network.prompts.keypoints.shape == (9, 512)
    XposeDetector(network=network, prompts="68").detect(picture)
    assert network.prompts.keypoints.shape == (68, 512)


@pytest.mark.parametrize("prompts", ["9", "68"])
def test_prompts_equal_the_published_ones(prompts):
    stored = np.load(GOLDEN / f"xpose_prompts_{prompts}.npz")
    loaded = load_prompts(prompts)
    np.testing.assert_array_equal(loaded.instances, stored["instance"])
    np.testing.assert_array_equal(loaded.keypoints, stored["keypoints"])
    assert loaded.keypoints.dtype == torch.float32


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        ((1600, 1200), (1066, 800)),
        ((1200, 1600), (800, 1066)),
        ((390, 317), (984, 800)),
        ((800, 800), (800, 800)),
        ((4000, 1000), (1332, 333)),  # 1333 / 4 rounded, times four
        ((500, 4000), (167, 1336)),
        ((8192, 32), (1280, 5)),
        ((1, 60_000), (1, 60_000)),
    ],
)
def test_pictures_are_resized_to_a_short_side_of_800_or_a_long_one_of_1333(picture, expected):
    assert fit_input_size(*picture) == expected


def test_colors_are_those_of_imagenet():
    blob = prepare_xpose_input(np.full((30, 40, 3), (0, 128, 255), dtype=np.uint8))
    assert blob.shape == (1, 3, 800, 1066)
    assert blob.dtype == torch.float32
    expected = [(0 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    assert blob.amax((0, 2, 3)).tolist() == pytest.approx(expected, abs=1e-5)
    assert blob.amin((0, 2, 3)).tolist() == pytest.approx(expected, abs=1e-5)


def test_the_orientation_of_the_picture_is_preserved():
    image = np.zeros((100, 200, 3), dtype=np.uint8)
    image[:50, :100, 0] = 255
    red = prepare_xpose_input(image)[0, 0]
    assert red[200, 400] > red[200, 1200]
    assert red[200, 400] > red[600, 400]


def test_unknown_prompts_are_refused():
    with pytest.raises(ConfigError, match="face_detector: xpose: prompts are '5'; expected 9 or 68"):
        XposeDetector(network=FixedNetwork(LARGE_BOX), prompts="5")


def test_a_real_network_is_deterministic(picture):
    torch.manual_seed(1)
    network = build(
        "xpose",
        backbone_width=8, backbone_depths=[1, 1, 1, 1], backbone_heads=[1, 1, 2, 4], dim=32, heads=4, hidden=32,
        text_hidden=32, fusion_dim=32, encoder_layers=1, decoder_layers=2, box_layers=1, proposals=90, boxes=10,
    )  # fmt: skip
    detector = XposeDetector(network=network)
    (first,), (second,) = detector.detect(picture), detector.detect(picture)
    np.testing.assert_array_equal(first.landmarks, second.landmarks)
    assert first.landmarks.shape == (9, 2)
    assert 0 < first.score < 1
