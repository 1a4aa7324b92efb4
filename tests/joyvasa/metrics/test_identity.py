"""Identity similarity through ONNX Runtime, with small files of known outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from joyvasa.errors import ModelError
from joyvasa.faces.insightface_networks import STRIDES
from joyvasa.metrics import identity
from joyvasa.metrics.base import MetricModels
from joyvasa.metrics.identity import (
    TEMPLATE,
    IdentityMetric,
    align_face,
    cosine_similarities,
    similarity_transform,
)
from tests.golden import metric_recipe
from tests.golden.metric_reference import meta
from tests.joyvasa.metrics.clips import make_clip, measure_values

SIDE = 640
STRIDE, ROW, COLUMN = 32, 10, 10  # cell with the face


def save(path: Path, nodes: list, constants: dict[str, np.ndarray], entry: list, outputs: list) -> Path:
    """Write an ONNX file."""
    graph = helper.make_graph(
        nodes,
        "planted",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, entry)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def write_detector(path: Path, keypoints: np.ndarray) -> Path:
    """Write a detector with SCRFD's nine outputs: a central face of 320 pixels, unless the picture is black."""
    constants: dict[str, np.ndarray] = {"zero": np.array(0, np.int64), "dark": np.array(-0.9, np.float32)}
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[0, 1, 2, 3], keepdims=0),
        helper.make_node("Greater", ["mean", "dark"], ["seen"]),
        helper.make_node("Cast", ["seen"], ["shown"], to=TensorProto.FLOAT),
    ]
    outputs = []
    anchor = np.array([COLUMN, ROW]) * STRIDE
    for kind, numbers in (("score", 1), ("box", 4), ("points", 10)):
        for stride in STRIDES:
            cells = SIDE // stride
            values = np.zeros((cells, cells, 2, numbers), np.float32)
            if stride == STRIDE and kind == "score":
                values[ROW, COLUMN, 0] = 0.9
            if stride == STRIDE and kind == "box":
                values[ROW, COLUMN, 0] = 5
            if stride == STRIDE and kind == "points":
                values[ROW, COLUMN, 0] = ((keypoints - anchor) / STRIDE).reshape(-1)
            name = f"{kind}{stride}"
            constants[f"planted_{name}"] = values.reshape(-1, numbers)
            nodes.append(helper.make_node("Mul", [f"planted_{name}", "shown"], [name]))
            outputs.append((name, [cells * cells * 2, numbers]))
    return save(path, nodes, constants, [1, 3, "height", "width"], outputs)


def write_arcface(path: Path, batch: int | str = "batch") -> Path:
    """Write a network whose 512 features are means of blocks of the red and green channels."""
    constants = {
        "channels": np.array([0, 1], np.int64),
        "shape": np.array([-1 if batch == "batch" else batch, 512], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["input", "channels"], ["two"], axis=1),
        helper.make_node("AveragePool", ["two"], ["pooled"], kernel_shape=[7, 7], strides=[7, 7]),
        helper.make_node("Reshape", ["pooled", "shape"], ["features"]),
    ]
    return save(path, nodes, constants, [batch, 3, 112, 112], [("features", [batch, 512])])


KEYPOINTS = (TEMPLATE - 56) * 2 + 320  # an upright face of twice the size of ArcFace's template


@dataclass
class Files:
    """Bundle of given files."""

    paths: dict[str, Path]

    def find_file(self, role: str) -> Path:
        return self.paths[role]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("networks")
    return {
        "scrfd": write_detector(folder / "det_10g.onnx", KEYPOINTS),
        "arcface": write_arcface(folder / "w600k_r50.onnx"),
    }


def metric_with(files: dict[str, Path]) -> IdentityMetric:
    metric = IdentityMetric()
    metric.setup(MetricModels(bundle=Files(files), device=torch.device("cpu")))
    return metric


def portrait(seed: int) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    return cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


BLACK = np.zeros((SIDE, SIDE, 3), np.uint8)


def expected_cosine(image: np.ndarray, other: np.ndarray) -> float:
    """Compute the cosine from the central 224 pixels at half size, as aligned by the planted keypoints."""
    features = []
    for picture in (image, other):
        matrix = np.array([[0.5, 0, 56 - 160], [0, 0.5, 56 - 160]])
        face = cv2.warpAffine(picture, matrix, (112, 112)).astype(np.float32) / 127.5 - 1
        features.append(face[..., :2].reshape(16, 7, 16, 7, 2).mean(axis=(1, 3)).transpose(2, 0, 1).reshape(-1))
    return float(features[0] @ features[1] / np.linalg.norm(features[0]) / np.linalg.norm(features[1]))


def test_the_same_face_has_similarity_one_and_another_its_cosine(files):
    source, other = portrait(1), portrait(2)
    frames = np.stack([source] * 25 + [other] * 25)
    values = measure_values(metric_with(files), make_clip(frames, reference_frame=source), frames)
    # Two frames per second: 0, 12, 25, 37, half of which show the other face.
    assert values["identity"] == pytest.approx((1 + expected_cosine(source, other)) / 2, abs=1e-3)
    assert values["identity_faces"] == 1
    assert expected_cosine(source, other) < 0.5


@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize("batch_faces", [1, 16])
def test_results_do_not_depend_on_batches(files, batch, batch_faces, monkeypatch):
    monkeypatch.setattr(identity, "SAMPLES_PER_SECOND", 5.0)
    source = portrait(1)
    frames = np.stack([np.roll(source, shift, axis=1) for shift in range(30)])
    clip = make_clip(frames, reference_frame=source)
    whole = measure_values(metric_with(files), clip, frames)
    monkeypatch.setattr(identity, "BATCH_FACES", batch_faces)
    parts = measure_values(metric_with(files), clip, frames, batch=batch)
    assert parts["identity"] == pytest.approx(whole["identity"], abs=1e-6)
    assert parts["identity_faces"] == 1


def test_frames_without_a_face_are_skipped_and_counted(files):
    source = portrait(1)
    frames = np.stack([source] * 30 + [BLACK] * 20)
    values = measure_values(metric_with(files), make_clip(frames, reference_frame=source), frames)
    assert values["identity"] == pytest.approx(1, abs=1e-5)
    assert values["identity_faces"] == pytest.approx(3 / 4)


def test_video_without_any_face_has_a_reason(files):
    frames = np.stack([BLACK] * 25)
    values = measure_values(metric_with(files), make_clip(frames, reference_frame=portrait(1)), frames)
    assert values["identity"] == "no_face"
    assert values["identity_faces"] == 0


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"reference_frame": BLACK}, "no_source_face"),
        ({}, "no_still"),
        ({"reference_frame": portrait(1), "mode": "animal"}, "not_human"),
    ],
)
def test_clips_that_cannot_be_compared_have_a_reason(files, fields, code):
    frames = np.stack([portrait(1)] * 3)
    values = measure_values(metric_with(files), make_clip(frames, **fields), frames)
    assert values["identity"] == values["identity_faces"] == code


def test_the_largest_face_is_compared(files, tmp_path, monkeypatch):
    """Check that a second, smaller face with a higher score changes nothing."""
    monkeypatch.setattr(identity, "SAMPLES_PER_SECOND", 25.0)
    model = onnx.load(files["scrfd"])
    for item in model.graph.initializer:
        values = numpy_helper.to_array(item).copy()
        if item.name == "planted_score16":
            values[0] = 0.99
        if item.name == "planted_box16":
            values[0] = 2
        item.CopyFrom(numpy_helper.from_array(values, item.name))
    onnx.save(model, tmp_path / "two.onnx")
    source = portrait(1)
    frames = np.stack([source, portrait(2)])
    values = [
        measure_values(
            metric_with({**files, "scrfd": path}),
            make_clip(frames, reference_frame=source),
            frames,
        )
        for path in (files["scrfd"], tmp_path / "two.onnx")
    ]
    assert values[0] == values[1]


def test_aligned_face_has_its_eyes_where_arcface_expects_them():
    angle = np.deg2rad(25)
    turn = 1.7 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    keypoints = TEMPLATE @ turn.T + (90, 40)
    matrix = similarity_transform(keypoints, TEMPLATE)
    np.testing.assert_allclose(keypoints @ matrix[:, :2].T + matrix[:, 2], TEMPLATE, atol=1e-9)
    image = np.zeros((400, 400, 3), np.uint8)
    for x, y in keypoints:
        cv2.circle(image, (round(x), round(y)), 4, (255, 255, 255), -1)
    face = align_face(image, keypoints)
    assert all(face[round(y), round(x), 0] > 200 for x, y in TEMPLATE)


def test_a_mirrored_face_is_not_mirrored_back():
    mirrored = TEMPLATE * (-1, 1)
    matrix = similarity_transform(mirrored, TEMPLATE)
    assert np.linalg.det(matrix[:, :2]) > 0


def test_cosines_equal_the_stored_ones():
    draws = metric_recipe.seeded_randn(21190, 20, 512)
    reference = metric_recipe.seeded_randn(21191, 512) + draws.mean(0) * 6
    cosines = cosine_similarities((draws + 0.8 * reference).numpy(), reference.numpy())
    np.testing.assert_allclose(cosines, meta()["csim"]["per_frame"], atol=1e-6)
    assert cosines.mean() == pytest.approx(meta()["csim"]["mean"], abs=1e-6)


def test_exchanged_files_are_rejected(files):
    with pytest.raises(ModelError, match="model_mismatch"):
        metric_with({"scrfd": files["arcface"], "arcface": files["scrfd"]})


def test_a_file_with_a_fixed_batch_size_is_rejected(files, tmp_path):
    single = write_arcface(tmp_path / "single.onnx", batch=1)
    with pytest.raises(ModelError, match="model_mismatch"):
        metric_with({**files, "arcface": single})


def test_damaged_file_is_named(files, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    with pytest.raises(ModelError, match=r"model_damaged: .*broken\.onnx"):
        metric_with({**files, "arcface": broken})
