"""Detect animal faces with the compact network that the package includes, without a download."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import max_pool2d

from joyvasa.errors import ModelError
from joyvasa.faces.detection import Face, sort_faces
from joyvasa.faces.geometry import warp_image
from joyvasa.faces.registry import DetectorSource
from joyvasa.faces.square import transform_points
from joyvasa.media.image import Image
from joyvasa.sample.networks.animal_landmarks import (
    FACE_STRIDE,
    FACE_UNIT,
    LANDMARKS,
    WINDOW_EYES_Y,
    AnimalLandmarks,
    AnimalLandmarksConfig,
)
from joyvasa.sample.networks.animal_motion_extractor import CROP_EYES_AT, CROP_UNIT, read_landmarks

FloatArray = NDArray[np.floating]

WEIGHTS = Path(__file__).parents[1] / "bundles/sample/animal_motion_extractor.safetensors"
_PREFIX = "landmarks."

_CROP_SIDE = 256  # pixels of the crop in which landmarks are found
_MULTIPLE = 16  # of the sides of a searched picture
SIDES = (192, 384)  # longer sides to which a picture is resized for the search, pixels; small faces need the larger one
MIN_SCORE = 0.4  # lowest probability of a face
CERTAIN_ANIMAL = 0.7  # score from which a picture shows an animal; those of people reach 0.5, rarely more
MIN_SHARE = 0.6  # lowest probability relative to that of the most probable face in the picture
MAX_FACES = 8  # number of faces, best first, whose landmarks are found
# The default crop is 1 / CROP_UNIT units wide, with the eyes at `CROP_EYES_AT`; `joyvasa.faces.geometry.CropConfig`
# enlarges this outline by 2.3 and shifts it up by an eighth of the crop.
_EXTENT = 1 / (2.3 * CROP_UNIT)
_EXTENT_BELOW_EYES = (0.125 + 0.5 - CROP_EYES_AT[1]) / CROP_UNIT
# Order of the nine landmarks, as of X-Pose: the eye on the right of the picture, the other eye, nose, corners of the
# mouth, right first, upper and lower lip.
_NINE = [
    LANDMARKS.index(name)
    for name in (
        "left_upper_lid",
        "left_lower_lid",
        "right_upper_lid",
        "right_lower_lid",
        "nose",
        "left_corner",
        "right_corner",
        "upper_lip",
        "lower_lip",
    )
]


@dataclass(frozen=True)
class _Hit:
    """Rough position of a face: middle of the eyes, and direction to the mouth, as long as the unit of the face."""

    eyes: FloatArray
    down: FloatArray
    score: float


class AnimalDetector:
    """Detect faces of animals, photographed or drawn, and their landmarks.

    One network searches the whole picture in two sizes, and then finds landmarks in a window around each face. Threads
    may share a detector.
    """

    def __init__(self, network: AnimalLandmarks) -> None:
        self._network = network
        self._device = next(network.parameters()).device

    @classmethod
    def create(cls, source: DetectorSource) -> AnimalDetector:
        """Create the detector from the weights in the package.

        Raises:
            ModelError: `models_missing`.
        """
        return cls(load_animal_network().to(source.device))

    @torch.inference_mode()
    def detect(self, image: Image) -> list[Face]:
        """Return the faces with nine landmarks, largest first; the score is the probability of a face, 0 to 1."""
        hits = [hit for side in SIDES for hit in self._search(image, side)]
        distinct = _remove_duplicates(hits)[:MAX_FACES]
        certain = [hit for hit in distinct if hit.score >= MIN_SHARE * distinct[0].score]
        return sort_faces([self._build_face(image, hit) for hit in certain])

    @torch.inference_mode()
    def score_best(self, image: Image) -> float:
        """Return the highest probability of a face in a picture, uint8 RGB; 0 below the limit of the detector."""
        return max((hit.score for side in SIDES for hit in self._search(image, side)), default=0.0)

    def _search(self, image: Image, side: int) -> list[_Hit]:
        """Search a picture for faces of about a twentieth to a quarter of `side`."""
        height, width = image.shape[:2]
        scale = side / max(height, width)
        if scale > 1 and side != SIDES[0]:
            return []  # nothing to gain from enlarging further
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        size = max(1, round(width * scale)), max(1, round(height * scale))
        resized = cv2.resize(image, size, interpolation=interpolation)
        canvas = np.zeros((_round_up(size[1]), _round_up(size[0]), 3), np.uint8)
        canvas[: size[1], : size[0]] = resized

        maps = self._network.find_faces(_to_tensor(canvas).to(self._device))[0].cpu()
        scores = torch.sigmoid(maps[0])
        peaks = (scores >= max_pool2d(scores[None], 3, 1, 1)[0]) & (scores >= MIN_SCORE)
        hits = []
        for row, column in peaks.nonzero().tolist():
            offset_x, offset_y, log_unit, down_x, down_y = maps[1:, row, column].tolist()
            center = np.array([column + 0.5 + offset_x, row + 0.5 + offset_y]) * FACE_STRIDE / scale - 0.5
            down = np.array([down_x, down_y])
            down *= FACE_UNIT * np.exp(log_unit) / scale / max(float(np.linalg.norm(down)), 1e-6)
            hits.append(_Hit(center - WINDOW_EYES_Y * down, down, float(scores[row, column])))
        return hits

    def _build_face(self, image: Image, hit: _Hit) -> Face:
        to_crop = _crop_matrix(hit)
        crop = warp_image(image, to_crop, (_CROP_SIDE, _CROP_SIDE))
        eyes = torch.tensor([CROP_EYES_AT], device=self._device) * 2 - 1
        down = torch.tensor([[0.0, 2 * CROP_UNIT]], device=self._device)
        landmarks = read_landmarks(self._network, _to_tensor(crop).to(self._device), eyes, down)[0].cpu().numpy()
        points = transform_points((landmarks + 1) * _CROP_SIDE / 2 - 0.5, np.linalg.inv(to_crop))

        nine = points[_NINE]
        eyes_at, mouth = nine[:4].mean(0), nine[5:7].mean(0)
        unit = (np.linalg.norm(nine[:2].mean(0) - nine[2:4].mean(0)) + np.linalg.norm(mouth - eyes_at)) / 2
        direction = (mouth - eyes_at) / max(float(np.linalg.norm(mouth - eyes_at)), 1e-6)
        across = np.array([direction[1], -direction[0]])
        center = eyes_at + _EXTENT_BELOW_EYES * unit * direction
        half = _EXTENT / 2 * unit
        corners = [center + x * half * across + y * half * direction for x in (-1, 1) for y in (-1, 1)]
        box = np.concatenate([points.min(0), points.max(0)]).astype(np.float32)
        return Face(box, hit.score, nine, extent=np.stack(corners).astype(np.float32))


def load_animal_network() -> AnimalLandmarks:
    """Load the network for faces and landmarks of animals from the package, in eval mode.

    Raises:
        ModelError: `models_missing`.
    """
    if not WEIGHTS.is_file():
        raise ModelError(
            "models_missing", f"{WEIGHTS}: not found; the package includes it: install the package again, complete"
        )
    network = AnimalLandmarks(AnimalLandmarksConfig())
    tensors = {name.removeprefix(_PREFIX): tensor for name, tensor in load_file(WEIGHTS).items()}
    network.load_state_dict(tensors)
    return network.eval()


def _crop_matrix(hit: _Hit) -> FloatArray:
    """Return the matrix from pixels of the picture to those of the usual crop around a face, (3, 3)."""
    unit = float(np.linalg.norm(hit.down))
    down = hit.down / unit
    scale = CROP_UNIT * _CROP_SIDE / unit
    linear = scale * np.array([[down[1], -down[0]], [down[0], down[1]]])
    shift = np.array(CROP_EYES_AT) * _CROP_SIDE - 0.5 - linear @ hit.eyes
    return np.array([[*linear[0], shift[0]], [*linear[1], shift[1]], [0, 0, 1]])


def _remove_duplicates(hits: list[_Hit]) -> list[_Hit]:
    """Keep the hit with the highest score at each position."""
    distinct: list[_Hit] = []
    for hit in sorted(hits, key=lambda hit: -hit.score):
        reach = 1.3 * np.linalg.norm(hit.down)
        if all(
            np.linalg.norm(hit.eyes - other.eyes) > max(reach, 1.3 * np.linalg.norm(other.down)) for other in distinct
        ):
            distinct.append(hit)
    return distinct


def _round_up(length: int) -> int:
    return -(-length // _MULTIPLE) * _MULTIPLE


def _to_tensor(image: Image) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255
