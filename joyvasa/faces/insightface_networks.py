"""Run networks of InsightFace with the library `insightface`, which prepares inputs and decodes outputs.

The library uses the ONNX sessions of this project, so devices, threads and file checks are the same as for other ONNX
networks.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from joyvasa.errors import EnvironmentFault, install_command
from joyvasa.media.image import Image
from joyvasa.runtime.onnx import OnnxNetwork

if TYPE_CHECKING:
    from insightface.model_zoo.arcface_onnx import ArcFaceONNX
    from insightface.model_zoo.landmark import Landmark
    from insightface.model_zoo.scrfd import SCRFD

FloatArray = NDArray[np.floating]

STRIDES = (8, 16, 32)  # strides of SCRFD's feature maps, pixels
ANCHORS_PER_CELL = 2
SIDE_106 = 192  # input side of the 106-point network, pixels
ARCFACE_SIDE = 112  # side of an aligned face, pixels
ARCFACE_FEATURES = 512


def load_scrfd(path: Path, *, side: int, overlap: float, device: str) -> SCRFD:
    """Load the SCRFD face detector (arXiv:2105.04714), `det_10g.onnx`.

    Args:
        path: model file.
        side: side of the square that pictures are fitted into, pixels.
        overlap: largest intersection over union of two faces.
        device: `cpu`, `cuda` or `cuda:N`.

    Returns:
        Detector of the library. Threads may share it.

    Raises:
        EnvironmentFault: `insightface_missing`.
        ModelError: `model_damaged` or `model_mismatch`.
    """
    anchors = [(side // stride) ** 2 * ANCHORS_PER_CELL for stride in STRIDES]
    network = OnnxNetwork(
        path,
        device=device,
        shape=(1, 3, side, side),
        outputs=dict(enumerate(count * numbers for numbers in (1, 4, 10) for count in anchors)),
    )
    # The library uses this session if no model file is given; otherwise it would create a session per size.
    detector = _library("scrfd").SCRFD(session=network.session)
    detector.prepare(0, nms_thresh=overlap)
    return detector


def detect_faces(
    detector: SCRFD, image: Image, *, side: int, threshold: float, max_faces: int = 0
) -> tuple[FloatArray, FloatArray]:
    """Detect faces with SCRFD.

    Args:
        detector: result of `load_scrfd`.
        image: uint8 RGB (height, width, 3).
        side: side of the square that the picture is fitted into, as for `load_scrfd`, pixels.
        threshold: lowest score of a face, 0 to 1.
        max_faces: number of faces to return, the largest and most central ones; 0 returns all.

    Returns:
        Boxes and scores, float32 (faces, 5): left, top, right, bottom in pixels and the score, best first; keypoints,
        float32 (faces, 5, 2): the eyes, the nose, the corners of the mouth.
    """
    # The library cannot resize narrow strips, because one side would become zero.
    if min(image.shape[:2]) * side < max(image.shape[:2]):
        return np.empty((0, 5), dtype=np.float32), np.empty((0, 5, 2), dtype=np.float32)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    boxes, keypoints = detector.detect(bgr, input_size=(side, side), max_num=max_faces, det_thresh=threshold)
    assert keypoints is not None  # checked by load_scrfd
    return boxes, keypoints


def load_landmarks106(path: Path, *, device: str) -> Landmark:
    """Load the network of 106 landmarks, `2d106det.onnx`; arguments and errors are those of `load_scrfd`."""
    shape = (1, 3, SIDE_106, SIDE_106)
    network = OnnxNetwork(path, device=device, shape=shape, outputs={0: 2 * 106})
    return _library("landmark").Landmark(model_file=str(path), session=network.session)


def detect_landmarks106(network: Landmark, image: Image, box: FloatArray) -> FloatArray:
    """Detect the 106 landmarks of a face, float32 (106, 2), pixels of the picture.

    Args:
        network: result of `load_landmarks106`.
        image: uint8 RGB (height, width, 3).
        box: left, top, right, bottom of the face, pixels.
    """
    from insightface.app.common import Face

    return network.get(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), Face(bbox=box))


def load_arcface(path: Path, *, device: str) -> ArcFaceONNX:
    """Load ArcFace (arXiv:1801.07698), `w600k_r50.onnx`; arguments and errors are those of `load_scrfd`."""
    network = OnnxNetwork(
        path,
        device=device,
        shape=(2, 3, ARCFACE_SIDE, ARCFACE_SIDE),  # rejects files with a fixed batch size of 1
        outputs={0: 2 * ARCFACE_FEATURES},
    )
    return _library("arcface_onnx").ArcFaceONNX(model_file=str(path), session=network.session)


def _library(module: str) -> Any:
    try:
        return import_module(f"insightface.model_zoo.{module}")
    except ImportError as error:
        raise EnvironmentFault(
            "insightface_missing",
            f"the library insightface cannot be imported ({error}); expected it for networks of InsightFace: "
            f"{install_command('insightface')} and `pip install --no-deps insightface`",
        ) from error
