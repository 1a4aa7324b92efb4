import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from joyvasa.errors import InputError, ModelError
from joyvasa.faces import haar
from joyvasa.faces.cascade import CascadeDetector, build_face_from_eyes
from joyvasa.faces.detection import choose_face
from joyvasa.faces.geometry import CropConfig
from joyvasa.faces.square import compute_face_square
from joyvasa.media.image import read_image
from tests.media import MEDIA, MORE_MEDIA, needs_more_media

EYES = ((154.5, 162.8), (209.0, 158.8))  # of tests/data/portrait.jpg


@pytest.fixture(scope="module")
def detector() -> CascadeDetector:
    return CascadeDetector()


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return read_image(Path(__file__).parents[2] / "data/portrait.jpg")


def roll_of(face) -> float:
    across = face.landmarks[1] - face.landmarks[0]
    return math.degrees(math.atan2(across[1], across[0]))


def test_one_face_is_detected_with_its_eyes(detector, portrait):
    (face,) = detector.detect(portrait)
    np.testing.assert_allclose(face.landmarks[:2], EYES, atol=6)
    assert face.landmarks.shape == (5, 2)
    assert face.landmarks5 is face.landmarks
    assert face.lip_ratio is None


def test_crop_shows_the_head_with_the_eyes_above_the_middle(detector, portrait):
    crop = detector.detect(portrait)[0].crop(portrait)
    eyes = crop.landmarks[:2].mean(axis=0) / 512
    mouth = crop.landmarks[3:].mean(axis=0) / 512
    assert eyes == pytest.approx([0.5, 0.48], abs=0.05)
    assert mouth[1] - eyes[1] == pytest.approx(0.21, abs=0.03)


@pytest.mark.parametrize("degrees", [-10, 10])
def test_roll_follows_the_eyes(detector, portrait, degrees):
    height, width = portrait.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    rolled = cv2.warpAffine(portrait, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    (face,) = detector.detect(rolled)
    (upright,) = detector.detect(portrait)
    assert roll_of(face) - roll_of(upright) == pytest.approx(-degrees, abs=4)


def test_without_a_pair_of_eyes_the_box_gives_an_upright_face(detector, portrait):
    covered = portrait.copy()
    covered[140:185, 140:180] = covered[230, 180]
    faces = detector.detect(covered)
    assert faces
    assert roll_of(faces[0]) == 0
    np.testing.assert_allclose(faces[0].landmarks[:2].mean(axis=0), np.mean(EYES, axis=0), atol=16)


def test_no_face_is_an_error(detector, portrait):
    jacket = np.ascontiguousarray(portrait[300:])
    assert detector.detect(jacket) == []
    with pytest.raises(InputError, match="face_not_found"):
        choose_face(detector.detect(jacket))


def test_the_largest_of_several_faces_is_chosen_and_candidates_are_counted(detector, portrait):
    small = cv2.resize(portrait, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    picture = np.zeros((500, 375 + small.shape[1], 3), dtype=np.uint8)
    picture[: small.shape[0], : small.shape[1]] = small
    picture[:, small.shape[1] :] = portrait
    choice = choose_face(detector.detect(picture))
    assert choice.count == 2
    assert choice.face.box[0] > small.shape[1]
    left = choose_face(detector.detect(picture), order="left-right").face
    assert left.box[2] < small.shape[1]
    assert left.side / choice.face.side == pytest.approx(0.7, abs=0.1)


def test_small_face_is_an_error_with_its_size(detector, portrait):
    shrunk = cv2.resize(portrait, None, fx=0.2, fy=0.2, interpolation=cv2.INTER_AREA)
    picture = np.full((300, 300, 3), 90, dtype=np.uint8)
    picture[100 : 100 + shrunk.shape[0], 100 : 100 + shrunk.shape[1]] = shrunk
    with pytest.raises(InputError, match=r"face_too_small: picture: largest face is 3\d pixels"):
        choose_face(detector.detect(picture))


def test_a_crop_at_the_border_is_black_outside_and_the_fraction_is_counted(detector, portrait):
    narrow = np.ascontiguousarray(portrait[85:300, 95:290])
    (face,) = detector.detect(narrow)
    crop = face.crop(narrow)
    assert 0.2 < crop.outside_fraction < 0.6
    assert (crop.image == 0).all(axis=2).mean() == pytest.approx(crop.outside_fraction, abs=0.05)
    whole = detector.detect(portrait)[0].crop(portrait)
    assert whole.outside_fraction < 0.05


def test_a_uniform_picture_has_no_face(detector):
    assert detector.detect(np.full((200, 300, 3), 128, dtype=np.uint8)) == []


@pytest.mark.parametrize("size", [(32, 32), (40, 1200), (19, 19)])
def test_odd_sizes_have_no_face(detector, size):
    assert detector.detect(np.zeros((*size, 3), dtype=np.uint8)) == []


def test_large_picture_gives_the_same_face(detector, portrait):
    large = cv2.resize(portrait, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    (face,), (expected,) = detector.detect(large), detector.detect(portrait)
    np.testing.assert_allclose(face.landmarks / 4, expected.landmarks, atol=8)


def test_threads_may_share_a_detector(detector, portrait):
    pictures = [portrait, np.ascontiguousarray(portrait[:, ::-1])] * 3
    expected = [detector.detect(picture)[0].box for picture in pictures[:2]] * 3
    with ThreadPoolExecutor(4) as pool:
        actual = [faces[0].box for faces in pool.map(detector.detect, pictures)]
    np.testing.assert_array_equal(actual, expected)


def test_opencv_without_cascades_is_an_error(monkeypatch):
    monkeypatch.setattr(haar.cv2.data, "haarcascades", "/nowhere")
    with pytest.raises(ModelError, match="detector cascade is not available"):
        CascadeDetector()


def test_crops_of_portraits_agree_with_crops_from_annotated_points(detector):
    """Center within 0.15 of the annotated crop's side and side within 25 %, for at least eight of nine portraits."""
    config = CropConfig()
    report, good = [], 0
    for name, annotation in json.loads((MEDIA / "faces.json").read_text()).items():
        left, right, mouth = (np.array(annotation[key], np.float32) for key in ("left_eye", "right_eye", "mouth"))
        annotated = build_face_from_eyes(left, right, mouth, box=np.array(annotation["box"]), score=0.0)
        faces = detector.detect(read_image(MEDIA / "portraits" / name))
        if not faces:
            report.append(f"{name}: no face")
            continue

        # Compare squares of the outline, from which crops are made, and of the five points alone.
        figures = []
        for outlined in (True, False):
            expected, actual = (
                compute_face_square(
                    face.landmarks,
                    scale=config.scale,
                    vy_ratio=config.vy_ratio,
                    extent=face.extent if outlined else None,
                )
                for face in (annotated, faces[0])
            )
            figures.append((math.dist(expected.center, actual.center) / expected.side, actual.side / expected.side - 1))
        good += len(faces) == 1 and all(center <= 0.15 and abs(size) <= 0.25 for center, size in figures)
        listed = ", ".join(f"center {center:.3f} size {size:+.1%}" for center, size in figures)
        report.append(f"{name}: {len(faces)} faces, {listed}")

    assert len(report) == 9
    assert good >= 8, "\n".join(report)


@needs_more_media
@pytest.mark.media
@pytest.mark.slow
def test_most_of_the_training_portraits_have_one_face(detector):
    pictures = sorted((MORE_MEDIA / "training/portraits").iterdir())
    counts = {path.name: len(detector.detect(read_image(path))) for path in pictures}
    assert sum(count >= 1 for count in counts.values()) >= 72, [name for name, count in counts.items() if count == 0]
    assert sum(count > 1 for count in counts.values()) <= 5, [name for name, count in counts.items() if count > 1]
