"""Fit the face mesh to faces of any roll, and read landmarks, outline and the opening of the lips from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from joyvasa.faces.detection import Face
from joyvasa.faces.face_candidates import choose_batch_size
from joyvasa.media.image import Image
from joyvasa.networks.faces.blocks import to_channels_last
from joyvasa.networks.faces.face_mesh import INPUT_SIDE

FloatArray = NDArray[np.floating]

CONTEXT = 1.5  # side of the network's input, in sides of the box of a face
N_PASSES = 3  # each pass after the first aligns the input to the mesh of the previous one

# Points of the mesh. Left and right are those of the picture.
_LEFT_EYE, _RIGHT_EYE = [33, 133, 159, 145], [362, 263, 386, 374]  # corners, then upper and lower lid
_NOSE, _LEFT_CORNER, _RIGHT_CORNER, _UPPER_LIP, _LOWER_LIP = 1, 61, 291, 13, 14
_LEFT_BROW, _RIGHT_BROW = [70, 63, 105, 66, 107], [336, 296, 334, 293, 300]
_JAW = [
    *(234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152),
    *(377, 400, 378, 379, 365, 397, 288, 361, 323, 454),
]  # fmt: skip
_OUTLINE = [*_LEFT_BROW, *_RIGHT_BROW, *_JAW]
# The jaw of the mesh lies inside of the contour of landmark layouts. With this enlargement from the brows the crop of
# the mean face has the size and position with which the built-in model was trained.
_OUTLINE_SCALE = 1.085


@dataclass(frozen=True)
class MeshFit:
    """A mesh fitted to a face."""

    # float32 (468, 3); x and y in pixels of the picture, z in the same unit, pointing away from the camera
    points: FloatArray
    presence: float  # logit of the presence of a face

    @property
    def box(self) -> FloatArray:
        """Left, top, right, bottom of the mesh, float32 (4,)."""
        flat = self.points[:, :2]
        return np.concatenate([flat.min(axis=0), flat.max(axis=0)])

    @property
    def angle(self) -> float:
        """Roll of the face, radians; positive is clockwise on screen."""
        across = self.points[_RIGHT_EYE[:2], :2].mean(axis=0) - self.points[_LEFT_EYE[:2], :2].mean(axis=0)
        return float(np.arctan2(across[1], across[0]))


@dataclass(frozen=True)
class MeshTask:
    """A face to fit the mesh to."""

    image: Image  # picture, uint8 RGB (height, width, 3)
    center: FloatArray  # approximate center of the face, (x, y) in pixels
    side: float  # approximate side of the square around the face, pixels
    angle: float = 0.0  # approximate roll, radians; errors of up to about 90 degrees are corrected


class MeshFitter:
    """Fits the face mesh. Threads may share it."""

    def __init__(self, network: nn.Module, *, device: torch.device) -> None:
        self._network = to_channels_last(network)
        self._device, self._batch_size = device, choose_batch_size(device)

    def fit(self, tasks: Sequence[MeshTask]) -> list[MeshFit]:
        """Fit the mesh to faces, in order."""
        fits = self._run(tasks)
        for _ in range(N_PASSES - 1):
            tasks = [_align(task, fit) for task, fit in zip(tasks, fits, strict=True)]
            fits = self._run(tasks)
        return fits

    def _run(self, tasks: Sequence[MeshTask]) -> list[MeshFit]:
        fits = []
        for start in range(0, len(tasks), self._batch_size):
            matrices, crops = zip(*map(_crop, tasks[start : start + self._batch_size]), strict=True)
            with torch.inference_mode():
                batch = torch.from_numpy(np.stack(crops)).to(self._device).permute(0, 3, 1, 2).float() / 255
                points, presence = self._network(batch.contiguous(memory_format=torch.channels_last))
            for matrix, mesh, logit in zip(matrices, points.cpu().numpy(), presence.tolist(), strict=True):
                back = cv2.invertAffineTransform(matrix)
                flat = mesh[:, :2] @ back[:, :2].T + back[:, 2]
                depth = mesh[:, 2] * np.sqrt(abs(np.linalg.det(back[:, :2])))
                fits.append(MeshFit(np.column_stack([flat, depth]).astype(np.float32), logit))
        return fits


def read_five_landmarks(fit: MeshFit) -> FloatArray:
    """Return eyes, nose and corners of the mouth, left of the picture first, float32 (5, 2)."""
    flat = fit.points[:, :2]
    eyes = [flat[eye].mean(axis=0) for eye in (_LEFT_EYE, _RIGHT_EYE)]
    return np.stack([*eyes, flat[_NOSE], flat[_LEFT_CORNER], flat[_RIGHT_CORNER]])


def build_face(fit: MeshFit) -> Face:
    """Build a face from a mesh, with five landmarks, the outline from the brows to the chin, and `lip_ratio`.

    The opening of the lips is defined as for 203 landmarks: height of the inner lips over the width of the mouth. The
    openings of the eyes are not measured, because the eyelids of the mesh hardly follow a blink.
    """
    flat = fit.points[:, :2]
    brows = (flat[_LEFT_BROW].mean(axis=0) + flat[_RIGHT_BROW].mean(axis=0)) / 2
    return Face(
        fit.box,
        fit.presence,
        read_five_landmarks(fit),
        extent=brows + _OUTLINE_SCALE * (flat[_OUTLINE] - brows),
        lip_ratio=_ratio(flat, (_UPPER_LIP, _LOWER_LIP), (_LEFT_CORNER, _RIGHT_CORNER)),
    )


def _ratio(points: FloatArray, opening: tuple[int, int], width: tuple[int, int]) -> float:
    height, length = (float(np.linalg.norm(points[a] - points[b])) for a, b in (opening, width))
    return height / max(length, 1e-6)


def _align(task: MeshTask, fit: MeshFit) -> MeshTask:
    """Return the upright square around a mesh, along the axes of the face."""
    cos, sin = np.cos(fit.angle), np.sin(fit.angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    upright = fit.points[:, :2] @ turn
    low, high = upright.min(axis=0), upright.max(axis=0)
    return MeshTask(task.image, (low + high) / 2 @ turn.T, float((high - low).max()), fit.angle)


def _crop(task: MeshTask) -> tuple[FloatArray, Image]:
    """Return the matrix from the picture to the network's input (2, 3), and the input."""
    scale = INPUT_SIDE / (CONTEXT * max(task.side, 1.0))
    cos, sin = np.cos(task.angle) * scale, np.sin(task.angle) * scale
    turn = np.array([[cos, sin], [-sin, cos]])
    matrix = np.column_stack([turn, INPUT_SIDE / 2 - turn @ task.center])
    size = (INPUT_SIDE, INPUT_SIDE)
    crop = cv2.warpAffine(task.image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return matrix, np.asarray(crop, dtype=np.uint8)
