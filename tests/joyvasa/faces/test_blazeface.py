"""Faces at any angle, of any size, several at once; landmarks, outline and the opening of the lips."""

import json
import math
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch

from joyvasa.bundles import open_bundle
from joyvasa.bundles.detectors import load_people_detector
from joyvasa.errors import InputError
from joyvasa.faces.blazeface import BlazeFaceDetector
from joyvasa.faces.detection import choose_face
from joyvasa.faces.face_candidates import Agreement, Candidate, CandidateFinder
from joyvasa.faces.face_mesh import MeshFit, MeshTask, build_face, read_five_landmarks
from joyvasa.faces.square import compute_face_square
from joyvasa.media.image import read_image
from joyvasa.sample.training.training_media import EYES_APART, EYES_AT
from tests.media import DATA, EXAMPLES, MEDIA, MORE_MEDIA, needs_more_media

EYES = ((154.5, 162.8), (209.0, 158.8))  # of tests/data/portrait.jpg


@pytest.fixture(scope="module")
def detector() -> BlazeFaceDetector:
    return load_people_detector()


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return read_image(DATA / "portrait.jpg")


def roll_of(face) -> float:
    across = face.landmarks[1] - face.landmarks[0]
    return math.degrees(math.atan2(across[1], across[0]))


def test_one_face_is_detected_with_landmarks_outline_and_opening(detector, portrait):
    (face,) = detector.detect(portrait)
    np.testing.assert_allclose(face.landmarks[:2], EYES, atol=5)
    np.testing.assert_allclose(face.landmarks[3:].mean(axis=0), (185, 229), atol=8)
    assert face.landmarks.shape == (5, 2)
    assert face.extent[:, 1].min() < 160
    assert face.extent[:, 1].max() > 245
    assert 0 <= face.lip_ratio < 0.1
    assert face.eye_ratios is None


@pytest.mark.parametrize("degrees", range(30, 360, 30))
def test_faces_are_detected_at_any_angle(detector, portrait, degrees):
    (upright,) = detector.detect(portrait)
    height, width = portrait.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    matrix[:, 2] += (600 - width) / 2, (600 - height) / 2
    rotated = cv2.warpAffine(portrait, matrix, (600, 600), borderMode=cv2.BORDER_REPLICATE)
    (face,) = detector.detect(rotated)
    difference = (roll_of(face) - roll_of(upright) + degrees + 180) % 360 - 180
    assert difference == pytest.approx(0, abs=4)
    expected = upright.landmarks @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(face.landmarks, expected, atol=4)


def test_small_faces_are_detected_in_large_pictures(detector, portrait):
    factor = 48 / 155  # of the box of the face
    small = cv2.resize(portrait, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    picture = np.full((960, 1280, 3), 96, np.uint8)
    picture[700 : 700 + small.shape[0], 900 : 900 + small.shape[1]] = small
    (face,) = detector.detect(picture)
    np.testing.assert_allclose(face.landmarks[:2], np.array(EYES) * factor + [900, 700], atol=3)


def test_a_face_in_profile_in_front_of_a_camera_is_detected_by_a_closer_search(detector):
    data = pytest.importorskip("skimage.data")
    picture = cv2.cvtColor(data.camera(), cv2.COLOR_GRAY2RGB)
    (face,) = detector.detect(picture)
    np.testing.assert_allclose(face.box, (197, 126, 261, 195), atol=15)


class PlannedFitter:
    """Returns the mean face at the same place for each task, with a low logit."""

    def __init__(self, mean: np.ndarray) -> None:
        self.mean = mean + np.array([200, 200, 0])

    def fit(self, tasks) -> list[MeshFit]:
        return [MeshFit(self.mean, -3.0) for _ in tasks]


@pytest.mark.parametrize(
    ("score", "spread", "off", "side", "animal", "count"),
    [
        (0.65, 0.05, 0, 120, 0.6, 1),
        (0.6, 0.05, 0, 120, 0.0, 0),
        (0.65, 0.07, 0, 120, 0.0, 0),
        (0.65, 0.05, 40, 120, 0.0, 0),
        (0.65, 0.05, 0, 39, 0.0, 0),
        (0.65, 0.05, 0, 120, 0.8, 0),
    ],
)
def test_an_uncertain_face_is_found_again_around_its_place_with_a_mesh_that_agrees_and_is_no_animal(
    detector, monkeypatch, score, spread, off, side, animal, count
):
    with np.load(DATA / "head.npz") as arrays:
        fitter = PlannedFitter(arrays["mean"].astype(np.float32) * 50)
    points = read_five_landmarks(MeshFit(fitter.mean, 0.0))
    marks = np.stack([*points[:3], points[3:].mean(axis=0)])
    candidate = Candidate(np.array([200.0, 200.0]), side, 0.0, 0.6, marks)
    again = Agreement(score, marks + np.array([off, 0]), spread)
    monkeypatch.setattr(detector, "_fitter", fitter)
    monkeypatch.setattr(detector.animals, "score_best", lambda image: animal)
    monkeypatch.setattr(detector._finder, "find", lambda images, **kwargs: [[candidate] for _ in images])
    monkeypatch.setattr(detector._finder, "find_again", lambda image, candidate: again)
    assert len(detector.detect(np.zeros((400, 400, 3), np.uint8))) == count


@pytest.mark.parametrize("degrees", [0, 30, 160])
def test_a_face_is_found_again_in_squares_around_it_and_nothing_is_where_there_is_none(detector, portrait, degrees):
    height, width = portrait.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    rotated = cv2.warpAffine(portrait, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    eyes = np.array(EYES) @ matrix[:, :2].T + matrix[:, 2]
    candidate = max(detector._finder.find([rotated], (0, 1, 2, 3))[0], key=lambda item: item.score)
    again = detector._finder.find_again(rotated, candidate)
    assert again.score > 0.85
    assert again.spread < 0.03
    np.testing.assert_allclose(again.landmarks[:2], eyes, atol=12)
    nothing = detector._finder.find_again(np.full_like(portrait, 96), candidate)
    assert nothing is None or nothing.score < 0.2


def test_most_heads_that_code_turned_aside_by_60_degrees_are_found(detector):
    pytest.importorskip("scipy")
    from tests.joyvasa.faces.turned_heads import turn_head

    found = 0
    for name in ("portrait", "portrait_2", "astronaut"):
        picture = read_image(EXAMPLES / f"{name}.jpg")
        (face,) = detector.detect(picture)
        center = (face.box[:2] + face.box[2:]) / 2
        mesh = detector._fitter.fit([MeshTask(picture, center, face.side)])[0].points
        for degrees in (-60, 60):
            turned, (eyes, mouth) = turn_head(picture, mesh, degrees)
            found += any(
                math.dist(face.landmarks[:2].mean(axis=0), eyes) < 0.6 * math.dist(eyes, mouth)
                for face in detector.detect(turned)
            )
    assert found >= 4


def test_pictures_with_a_certain_face_are_searched_once(detector, portrait, monkeypatch):
    searches = []
    find = detector._finder.find
    monkeypatch.setattr(
        detector._finder, "find", lambda images, **kwargs: searches.append(len(images)) or find(images, **kwargs)
    )
    assert len(detector.detect(portrait)) == 1
    assert sum(searches) == 1


def test_the_largest_of_several_faces_is_chosen_and_candidates_are_counted(detector, portrait):
    small = cv2.resize(portrait, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    picture = np.zeros((500, 375 + small.shape[1], 3), dtype=np.uint8)
    picture[: small.shape[0], : small.shape[1]] = small
    picture[:, small.shape[1] :] = portrait
    choice = choose_face(detector.detect(picture))
    assert choice.count == 2
    assert choice.face.box[0] > small.shape[1]
    left = choose_face(detector.detect(picture), order="left-right").face
    assert left.side / choice.face.side == pytest.approx(0.7, abs=0.05)


def test_pictures_without_color_have_the_same_face(detector, portrait):
    gray = cv2.cvtColor(cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    (face,), (expected,) = detector.detect(gray), detector.detect(portrait)
    np.testing.assert_allclose(face.landmarks, expected.landmarks, atol=4)


def test_a_batch_of_different_sizes_gives_the_same_faces(detector, portrait):
    pictures = [portrait, np.ascontiguousarray(portrait[:, ::-1]), cv2.resize(portrait, (300, 401)), portrait[300:]]
    batched = detector.detect_batch([*pictures, portrait[::-1]])
    for faces, picture in zip(batched, [*pictures, portrait[::-1]], strict=True):
        alone = detector.detect(picture)
        assert len(faces) == len(alone)
        for one, other in zip(faces, alone, strict=True):
            np.testing.assert_array_equal(one.landmarks, other.landmarks)


def test_networks_run_with_several_pictures_at_once(detector, portrait):
    """On a GPU; here the results differ by rounding."""
    networks = [open_bundle("faces").load_network(name) for name in ("blazeface_short_range", "blazeface_full_range")]
    pictures = [portrait, np.ascontiguousarray(portrait[::-1]), portrait]
    device = torch.device("cpu")
    one, many = (CandidateFinder(*networks, device=device, batch_size=size) for size in (1, 8))
    for few, all_at_once in zip(one.find(pictures, (0, 2)), many.find(pictures, (0, 2)), strict=True):
        assert len(few) == len(all_at_once) >= 1
        np.testing.assert_allclose(few[0].box, all_at_once[0].box, atol=0.05)


def test_large_pictures_give_the_same_face(detector, portrait):
    large = cv2.resize(portrait, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    (face,), (expected,) = detector.detect(large), detector.detect(portrait)
    np.testing.assert_allclose(face.landmarks / 4, expected.landmarks, atol=3)


def test_no_face_is_an_error(detector, portrait):
    jacket = np.ascontiguousarray(portrait[300:])
    assert detector.detect(jacket) == []
    with pytest.raises(InputError, match="face_not_found"):
        choose_face(detector.detect(jacket))


@pytest.mark.parametrize("size", [(200, 300), (40, 1200), (1200, 3), (1, 1)])
def test_uniform_pictures_of_any_shape_have_no_face(detector, size):
    assert detector.detect(np.full((*size, 3), 128, dtype=np.uint8)) == []


def test_threads_may_share_a_detector(detector, portrait):
    pictures = [portrait, np.ascontiguousarray(portrait[:, ::-1])] * 3
    expected = [detector.detect(picture)[0].box for picture in pictures[:2]] * 3
    with ThreadPoolExecutor(4) as pool:
        actual = [faces[0].box for faces in pool.map(detector.detect, pictures)]
    np.testing.assert_allclose(actual, expected, atol=0.01)


def test_the_crop_of_the_mean_face_is_that_of_the_training_of_the_built_in_model():
    with np.load(DATA / "head.npz") as arrays:
        mean = arrays["mean"].astype(np.float32)
    face = build_face(MeshFit(mean * 100, 50.0))
    square = compute_face_square(face.landmarks, scale=2.3, vy_ratio=-0.125, extent=face.extent)
    corners = mean[[33, 133, 362, 263], :2] * 100  # of the eyes; training is aligned by them
    right, left = corners[:2].mean(axis=0), corners[2:].mean(axis=0)
    assert math.dist(right, left) / square.side == pytest.approx(EYES_APART, rel=0.01)
    position = ((right + left) / 2 - square.center) / square.side + 0.5
    np.testing.assert_allclose(position, EYES_AT, atol=0.01)


def test_points_of_portraits_are_where_a_68_point_model_finds_them(detector):
    """Errors are shares of the distance between the eyes; one portrait is a statue with another notion of its mouth."""
    report = {}
    for name, annotation in json.loads((MEDIA / "faces.json").read_text()).items():
        left, right, mouth = (np.array(annotation[key]) for key in ("left_eye", "right_eye", "mouth"))
        faces = detector.detect(read_image(MEDIA / "portraits" / name))
        assert len(faces) == 1, name
        landmarks = faces[0].landmarks
        apart = math.dist(left, right)
        eyes = (math.dist(landmarks[0], left) + math.dist(landmarks[1], right)) / 2 / apart
        report[name] = (eyes, math.dist(landmarks[3:].mean(axis=0), mouth) / apart)
    errors = np.array(list(report.values()))
    assert len(errors) == 9
    assert np.median(errors, axis=0) == pytest.approx([0.05, 0.06], abs=0.05), report
    assert errors.max() < 0.3, report


@needs_more_media
@pytest.mark.media
@pytest.mark.slow
def test_all_training_portraits_have_one_face(detector):
    pictures = sorted((MORE_MEDIA / "training/portraits").iterdir())
    counts = {path.name: len(detector.detect(read_image(path))) for path in pictures}
    assert [name for name, count in counts.items() if count != 1] == []
