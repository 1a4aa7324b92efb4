"""The InsightFace detector with small ONNX files that have given outputs."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from joyvasa.errors import ConfigError, EnvironmentFault, ModelError
from joyvasa.faces.insightface import (
    DETECTOR_SIDE,
    InsightFaceConfig,
    InsightFaceDetector,
    compute_eye_ratios,
    compute_lip_ratios,
)
from joyvasa.faces.insightface_networks import STRIDES, detect_faces
from joyvasa.faces.registry import DetectorSource, build_detector
from tests.joyvasa.faces.planted import write_network


def detector_outputs(faces: Sequence[tuple[int, int, int, float]], batch: bool = False) -> list[np.ndarray]:
    """Return nine outputs with faces (stride, row, column, score): 4 strides to each side, keypoints at the anchor."""
    scores, boxes, keypoints = [], [], []
    for stride in STRIDES:
        cells = 512 // stride
        score = np.zeros((cells, cells, 2, 1), dtype=np.float32)
        box = np.full((cells * cells * 2, 4), 4.0, dtype=np.float32)
        for level, row, column, value in faces:
            if level == stride:
                score[row, column, 1] = value
        scores.append(score.reshape(-1, 1))
        boxes.append(box)
        keypoints.append(np.tile(np.arange(10, dtype=np.float32) / 10, (cells * cells * 2, 1)))
    outputs = [*scores, *boxes, *keypoints]
    return [values[None] for values in outputs] if batch else outputs


def points_on_a_grid(count: int, low: float, high: float) -> np.ndarray:
    points = np.random.default_rng(count).uniform(low, high, (count, 2)).astype(np.float32)
    return points


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    """Files for one face at stride 32, row 6, column 8: at (256, 192) in a picture of 512 pixels, 256 wide."""
    points_106 = points_on_a_grid(106, -0.5, 0.5)
    # Upright face with the eyes above the corners of the mouth.
    points_106[[33, 35, 40, 39]], points_106[[87, 89, 94, 93]] = (-0.3, -0.2), (0.3, -0.2)
    points_106[[52]], points_106[[61]] = (-0.2, 0.3), (0.2, 0.3)
    points_106[0], points_106[1] = (-0.5, -0.5), (0.5, 0.5)
    points_203 = points_on_a_grid(203, 0.2, 0.8)
    landmarks203 = [np.zeros((1, 7)), np.zeros((1, 9)), points_203.reshape(1, 406)]
    return {
        "face_detector": write_network(
            tmp_path / "det_10g.onnx", detector_outputs([(32, 6, 8, 0.9)]), [1, 3, "height", "width"]
        ),
        "landmarks106": write_network(tmp_path / "2d106det.onnx", [points_106.reshape(1, 212)], ["batch", 3, 192, 192]),
        "landmarks203": write_network(tmp_path / "landmark.onnx", landmarks203, [1, 3, 224, 224]),
    }


def planted(path: Path, number: int = 0) -> np.ndarray:
    model = onnx.load(path)
    (values,) = [item for item in model.graph.initializer if item.name == f"planted{number}"]
    return numpy_helper.to_array(values)


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)


def test_a_face_is_detected_with_all_landmarks(files, picture):
    detector = InsightFaceDetector(files=files)
    (face,) = detector.detect(picture)
    np.testing.assert_allclose(face.box, [128, 64, 384, 320], atol=1e-3)
    assert face.score == pytest.approx(0.9)
    anchor, offsets = np.array([256, 192]), np.arange(10).reshape(5, 2) / 10 * 32
    _, (keypoints,) = detect_faces(detector._scrfd, picture, side=DETECTOR_SIDE, threshold=0.1)
    np.testing.assert_allclose(keypoints, anchor + offsets, atol=1e-3)
    # The input of the 106-point network is a square of 1.5 times the box, about its center.
    points_106 = [256, 192] + planted(files["landmarks106"]).reshape(106, 2) * (1.5 * 256 / 2)
    np.testing.assert_allclose(face.landmarks, points_106, atol=1e-2)
    # The input of the 203-point network is a square of 1.5 times the box of the 106 points, shifted up by a tenth.
    side = 1.5 * np.ptp(points_106, axis=0).max()
    middle = (points_106.max(axis=0) + points_106.min(axis=0)) / 2 - [0, 0.1 * side]
    points_203 = middle + (planted(files["landmarks203"], 2).reshape(203, 2) - 0.5) * side
    np.testing.assert_allclose(detector.detect_landmarks203(picture, face.landmarks), points_203, atol=1e-2)
    assert face.lip_ratio == pytest.approx(compute_lip_ratios(points_203)[0, 0], rel=1e-3)
    assert face.eye_ratios == pytest.approx(tuple(compute_eye_ratios(points_203)[0]), rel=1e-3)


def test_landmarks_scale_with_the_picture(files, picture):
    detector = InsightFaceDetector(files=files)
    (face,) = detector.detect(picture)
    large_picture = picture.repeat(2, axis=0).repeat(2, axis=1)
    (enlarged,) = detector.detect(large_picture)
    landmarks = detector.detect_landmarks203(picture, face.landmarks)
    large_landmarks = detector.detect_landmarks203(large_picture, enlarged.landmarks)
    np.testing.assert_allclose(large_landmarks, landmarks * 2, atol=0.05)


def test_wide_picture_is_letterboxed(files, picture):
    (face,) = InsightFaceDetector(files=files).detect(np.concatenate([picture, picture], axis=1))
    np.testing.assert_allclose(face.box, [256, 128, 768, 640], atol=1e-3)


def test_networks_receive_rgb_in_their_ranges(tmp_path, files):
    red, blue = np.zeros((2, 512, 512, 3), dtype=np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    plain = InsightFaceDetector(files=files).detect(red)[0]
    write_network(files["face_detector"], detector_outputs([(32, 6, 8, 0.5)]), [1, 3, "h", "w"], reaction=0.001)
    write_network(files["landmarks106"], [planted(files["landmarks106"])], [1, 3, 192, 192], reaction=1e-4)
    faces = [InsightFaceDetector(files=files).detect(image)[0] for image in (red, blue)]
    assert faces[0].score == pytest.approx(0.5 + 0.001 * 127.5 / 128)
    assert faces[1].score == pytest.approx(0.5 - 0.001 * 127.5 / 128)
    # 255 * 1e-4 of 96 pixels, twice as large in the picture, plus the effect of the wider box.
    shift = (faces[0].landmarks - plain.landmarks).mean()
    assert shift == pytest.approx(255e-4 * 192, rel=0.05)
    assert (faces[1].landmarks - plain.landmarks).mean() == pytest.approx(0, abs=0.1)


def test_the_203_point_network_receives_values_up_to_one(files):
    white = np.full((512, 512, 3), 255, dtype=np.uint8)
    detector = InsightFaceDetector(files=files)
    (face,) = detector.detect(white)
    outputs = [planted(files["landmarks203"], number) for number in range(3)]
    write_network(files["landmarks203"], outputs, [1, 3, 224, 224], reaction=0.1)
    plain, moved = (
        network.detect_landmarks203(white, face.landmarks) for network in (detector, InsightFaceDetector(files=files))
    )
    side = 1.5 * np.ptp(face.landmarks, axis=0).max()
    np.testing.assert_allclose(moved - plain, 0.1 * side, rtol=1e-3)


@pytest.mark.parametrize("batch", [False, True])
def test_several_faces_come_largest_first_without_overlaps(files, picture, batch):
    faces = [(32, 6, 3, 0.6), (32, 6, 4, 0.8), (16, 4, 26, 0.95), (8, 60, 60, 0.05)]
    write_network(files["face_detector"], detector_outputs(faces, batch), [1, 3, "h", "w"])
    detected = InsightFaceDetector(files=files).detect(picture)
    assert [round(face.score, 2) for face in detected] == [0.8, 0.95]
    (nearest,) = InsightFaceDetector(files=files, config=InsightFaceConfig(max_faces=1)).detect(picture)
    assert nearest.score == pytest.approx(0.8)
    strict = InsightFaceConfig(threshold=0.9)
    assert len(InsightFaceDetector(files=files, config=strict).detect(picture)) == 1


def test_no_face_gives_an_empty_list(files, picture):
    write_network(files["face_detector"], detector_outputs([]), [1, 3, "h", "w"])
    assert InsightFaceDetector(files=files).detect(picture) == []


def test_crop_follows_the_106_points(files, picture):
    (face,) = InsightFaceDetector(files=files).detect(picture)
    crop = face.crop(picture)
    assert crop.landmarks.shape == (106, 2)
    eyes, mouth = crop.landmarks[[33, 87]].mean(axis=0), crop.landmarks[[52, 61]].mean(axis=0)
    assert mouth[1] > eyes[1]
    assert mouth[0] == pytest.approx(eyes[0], abs=0.1)


def test_factory_passes_the_files(files, picture):
    source = DetectorSource(
        device=torch.device("cuda:0"), threshold=0.15, file=files.__getitem__, network=lambda role: None
    )
    detector = build_detector("insightface", "human", source)
    assert len(detector.detect(picture)) == 1
    assert detector.config.threshold == 0.15


@pytest.mark.parametrize("threads", [1, 3])
def test_networks_use_no_more_threads_than_their_worker(files, threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    source = DetectorSource(
        device=torch.device("cpu"), threshold=0.1, file=files.__getitem__, network=lambda role: None
    )
    detector = build_detector("insightface", "human", source)
    for session in (detector._scrfd.session, detector._landmarks106.session, detector._landmarks203.session):
        assert session.get_session_options().intra_op_num_threads == threads


def test_missing_library_is_named_with_the_commands_that_install_it(files, monkeypatch):
    for module in [name for name in sys.modules if name.partition(".")[0] == "insightface"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "insightface", None)
    with pytest.raises(EnvironmentFault, match="insightface_missing: the library insightface") as caught:
        InsightFaceDetector(files=files)
    assert "`make extras`" in caught.value.sentence
    assert "pip install --no-deps insightface" in caught.value.sentence
    assert "\n" not in caught.value.sentence


def test_a_strip_has_no_face(files):
    assert InsightFaceDetector(files=files).detect(np.zeros((2, 1280, 3), dtype=np.uint8)) == []


@pytest.mark.parametrize("role", ["face_detector", "landmarks106", "landmarks203"])
def test_missing_file_is_named(files, role):
    files[role].unlink()
    with pytest.raises(ModelError, match="not available: needs") as caught:
        InsightFaceDetector(files=files)
    assert caught.value.code == "model_missing"
    assert str(files[role]) in caught.value.sentence


def test_damaged_file_is_named(files):
    files["landmarks106"].write_bytes(b"no network")
    with pytest.raises(ModelError, match=r"model_damaged: .*2d106det\.onnx"):
        InsightFaceDetector(files=files)


def test_swapped_files_are_refused(files):
    files["landmarks106"], files["landmarks203"] = files["landmarks203"], files["landmarks106"]
    with pytest.raises(ModelError, match="model_mismatch"):
        InsightFaceDetector(files=files)


@pytest.mark.parametrize("n_outputs", [3, 6])
def test_detector_without_keypoints_is_refused(files, n_outputs):
    write_network(files["face_detector"], detector_outputs([])[:n_outputs], [1, 3, "h", "w"])
    with pytest.raises(ModelError, match=r"model_mismatch: .*outputs of sizes \[8192, 2048, 512"):
        InsightFaceDetector(files=files)


@pytest.mark.parametrize("values", [{"threshold": 0}, {"overlap": 2}, {"max_faces": -1}])
def test_impossible_thresholds_are_refused(values):
    with pytest.raises(ConfigError, match="face_detector"):
        InsightFaceConfig(**values)
