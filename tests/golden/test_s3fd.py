import numpy as np
import pytest
import torch

from joyvasa.faces.boxes import suppress_overlaps
from joyvasa.metrics.support import face_boxes
from joyvasa.metrics.support.face_boxes import MEAN_RGB, FaceBoxFinder, decode_boxes, select_boxes
from joyvasa.networks import build
from joyvasa.networks.metrics.s3fd import S3fd, prior_boxes
from tests.golden.metric_reference import check, fill, meta, pattern_video, published_keys, stored


@pytest.fixture(scope="module")
def network() -> S3fd:
    return fill(build("s3fd"), "s3fd_net")


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return pattern_video(20281, 1, 150, 205, meta()["s3fd_net"]["image_sha"])[0]


def test_weights_are_named_as_published(network):
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == published_keys("s3fd")


@torch.inference_mode()
def test_network_matches(network, image):
    pixels = torch.from_numpy(image.astype(np.float32) - np.array(MEAN_RGB, np.float32)).permute(2, 0, 1)
    locations, scores, priors = network(pixels[None])
    arrays = stored("s3fd_net")
    assert len(priors) == int(arrays["n_priors"])
    check(locations[0, ::7], arrays["loc"], 1e-4)
    check(scores[0, ::7], arrays["conf"], 1e-4)
    check(priors[::7], arrays["priors"], 1e-4)
    boxes = decode_boxes(locations, priors)[0].numpy()
    best = select_boxes(boxes, scores[0, :, 1].numpy())[:40]
    check(np.roll(best, 1, axis=1), arrays["det_top"], 1e-4)


def test_the_finder_returns_the_same_faces_in_pixels(network, image, monkeypatch):
    monkeypatch.setattr(face_boxes, "SCALE", 1.0)
    monkeypatch.setattr(face_boxes, "THRESHOLD", 0.55)
    finder = FaceBoxFinder(network, torch.device("cpu"))
    alone, other = finder.find(np.stack([image, image[::-1]]))
    arrays = stored("s3fd_net")
    expected = np.roll(arrays["det_top"], -1, axis=1)
    expected = expected[expected[:, 4] > 0.55]
    height, width = image.shape[:2]
    expected = expected * (width, height, width, height, 1)
    expected = expected[suppress_overlaps(expected[:, :4], overlap=0.1)]
    assert len(expected) > 1
    np.testing.assert_allclose(alone[: len(expected)], expected, atol=1e-2)
    assert alone.shape != other.shape or np.abs(alone - other).max() > 1


def test_boxes_and_suppression_match():
    arrays = stored("s3fd_post")
    cells = [(24, 32), (12, 16), (6, 8), (3, 4), (2, 2), (1, 1)]
    check(prior_boxes(cells, 96, 128), arrays["priors"], 1e-4)
    boxes = decode_boxes(torch.from_numpy(arrays["loc"]), torch.from_numpy(arrays["priors"])).numpy()
    check(boxes, arrays["decoded"], 1e-4)
    selected = select_boxes(boxes, arrays["conf"][:, 1])
    check(np.roll(selected, 1, axis=1), arrays["detect"], 1e-4)
    final = arrays["final_in"]
    best = np.argsort(-final[:, 4], kind="stable")
    np.testing.assert_array_equal(best[suppress_overlaps(final[best, :4], overlap=0.1)], arrays["final_keep"])
