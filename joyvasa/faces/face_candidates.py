"""Search pictures for faces with BlazeFace, at short and at full range and in four orientations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from joyvasa.faces.boxes import compute_iou
from joyvasa.faces.square import Square, compute_crop_matrix, transform_points
from joyvasa.media.image import Image
from joyvasa.networks.faces.blocks import to_channels_last

FloatArray = NDArray[np.floating]

SHORT_SIDE = 128  # longer side of the input at short range, pixels; faces from 17 to 90 pixels are detected
FULL_SIDES = (192, 512)  # range of the longer side of the input at full range, pixels; faces from 19 pixels
FULL_SCALE = 0.4  # scale at full range within these limits: 19 pixels of the smallest face of 48
_MULTIPLE = 32  # pixels; sides of inputs are multiples of it
THRESHOLD = 0.5  # lowest probability of a face
MAX_CANDIDATES = 32  # per picture, the most probable ones
# Squares around a candidate that are searched again, at short range, each with its mirror image: shift to the right,
# shift down, and side, in sides of the candidate.
AGAIN = (
    *((0.0, 0.0, side) for side in (1.76, 2.2, 2.86)),
    *((x, 0.0, 2.2) for x in (-0.15, 0.15)),
    *((0.0, y, 2.2) for y in (-0.15, 0.15)),
)
NEAR = 0.35  # largest distance of the mean landmarks of a face found there from those of the candidate, in its sides
LOW_THRESHOLD = 0.02  # lowest probability of a face found again
# Of the eight pairs of numbers: center and size of the box, eyes, nose, mouth, ears.
_EYES, _LANDMARKS = slice(2, 4), slice(2, 6)


@dataclass(frozen=True)
class Candidate:
    """A square in a picture that probably shows a face."""

    center: FloatArray  # center of the square, (x, y) in pixels
    side: float  # side of the square, pixels
    angle: float  # roll of the face, radians; positive is clockwise on screen
    score: float  # probability of a face, 0 to 1
    landmarks: FloatArray  # eyes, left of the picture first, nose and mouth, (4, 2)

    @property
    def box(self) -> FloatArray:
        """Left, top, right, bottom of the square without rotation."""
        return np.concatenate([self.center - self.side / 2, self.center + self.side / 2])


@dataclass(frozen=True)
class Agreement:
    """What BlazeFace finds in squares around a candidate; it finds faces in all of them, other things in some."""

    score: float  # mean probability of a face, 0 to 1; squares without a face near the candidate count as 0
    landmarks: FloatArray  # median landmarks, as those of `Candidate`
    spread: float  # median over the squares of the mean distance from these landmarks, sides of the candidate


class CandidateFinder:
    """Runs both networks of BlazeFace over whole pictures.

    Each network detects faces with a roll of up to about 45 degrees, so that four orientations cover all angles.

    Args:
        short_range: network for faces that fill at least a seventh of the picture, on `device`.
        full_range: network for smaller faces.
        device: device to compute on.
        batch_size: number of inputs per run of a network; by default 16 on a GPU, and 1 on a CPU, where batches are not
            faster and change results by rounding.
    """

    def __init__(
        self,
        short_range: nn.Module,
        full_range: nn.Module,
        *,
        device: torch.device,
        batch_size: int | None = None,
    ) -> None:
        self._networks = [to_channels_last(network) for network in (short_range, full_range)]
        self._device, self._batch_size = device, batch_size or choose_batch_size(device)

    def find(
        self, images: Sequence[Image], turns: Sequence[int] = (0,), *, magnification: float = 1.0
    ) -> list[list[Candidate]]:
        """Find candidates.

        Args:
            images: uint8 RGB (height, width, 3), of any sizes.
            turns: orientations to search: number of counterclockwise turns of the pictures by 90 degrees.
            magnification: factor of the size of inputs at full range; with 2, faces of half the size are detected.

        Returns:
            Candidates per picture that overlap by at most 0.3, most probable first.
        """
        found: list[list[tuple[FloatArray, FloatArray]]] = [[] for _ in images]  # values and scores
        full_limits = (round(FULL_SIDES[0] * magnification), round(FULL_SIDES[1] * magnification))
        for network, limits in zip(self._networks, ((SHORT_SIDE, SHORT_SIDE), full_limits), strict=True):
            inputs = [
                (index, *_shrink(image, limits, FULL_SCALE * magnification)) for index, image in enumerate(images)
            ]
            jobs = [(index, np.rot90(small, turn), scale, turn) for index, small, scale in inputs for turn in turns]
            by_shape = defaultdict(list)
            for job in jobs:
                by_shape[job[1].shape].append(job)
            for group in by_shape.values():
                for start in range(0, len(group), self._batch_size):
                    batch = group[start : start + self._batch_size]
                    for (index, small, scale, turn), (values, scores) in zip(
                        batch, self._run(network, [job[1] for job in batch]), strict=True
                    ):
                        found[index].append((_turn_back(values, small.shape, turn) / scale, scores))
        return [self._select(parts) for parts in found]

    def find_again(self, image: Image, candidate: Candidate) -> Agreement | None:
        """Search squares around a candidate, and their mirror images; None if most of them show no face."""
        found, scores = [], []
        for x, y, side in AGAIN:
            center_x, center_y = candidate.center + np.array([x, y]) * candidate.side
            square = Square((float(center_x), float(center_y)), side * candidate.side, candidate.angle)
            matrix = compute_crop_matrix(square, SHORT_SIDE)[:2]
            crop = np.asarray(cv2.warpAffine(image, matrix, (SHORT_SIDE, SHORT_SIDE), flags=cv2.INTER_AREA), np.uint8)
            back = np.asarray(cv2.invertAffineTransform(matrix), np.float32)
            for mirrored in (False, True):
                picture = np.ascontiguousarray(crop[:, ::-1]) if mirrored else crop
                ((pairs, probabilities),) = self._run(self._networks[0], [picture], threshold=LOW_THRESHOLD)
                landmarks = pairs[:, _LANDMARKS]
                if mirrored:
                    landmarks = landmarks[:, [1, 0, 2, 3]] * [-1, 1] + [SHORT_SIDE, 0]
                landmarks = transform_points(landmarks, back)
                away = np.linalg.norm(landmarks.mean(axis=1) - candidate.landmarks.mean(axis=0), axis=-1)
                probabilities = np.where(away <= NEAR * candidate.side, probabilities, 0.0)
                scores.append(float(probabilities.max(initial=0.0)))
                if scores[-1]:
                    found.append(landmarks[probabilities.argmax()])
        if len(found) <= len(scores) / 2:
            return None
        middle = np.median(found, axis=0)
        spread = np.median(np.linalg.norm(found - middle, axis=-1).mean(axis=1)) / candidate.side
        return Agreement(float(np.mean(scores)), middle, float(spread))

    def _run(
        self, network: nn.Module, pictures: Sequence[Image], *, threshold: float = THRESHOLD
    ) -> list[tuple[FloatArray, FloatArray]]:
        """Return positions and sizes (n, 8, 2) in pixels of the input, and probabilities above the threshold (n,)."""
        with torch.inference_mode():
            batch = torch.from_numpy(np.stack(pictures)).to(self._device).permute(0, 3, 1, 2).float() / 127.5 - 1
            values, logits = network(batch.contiguous(memory_format=torch.channels_last))
        values, scores = values.cpu().numpy(), logits.sigmoid().cpu().numpy()
        anchors = _list_anchors(network.anchors, pictures[0].shape[0], pictures[0].shape[1])  # type: ignore[arg-type]
        results = []
        for row, probabilities in zip(values.reshape(len(values), -1, 8, 2), scores, strict=True):
            high = probabilities > threshold
            pairs, origin = row[high], anchors[high]
            pairs[:, 0] += origin
            pairs[:, 2:] += origin[:, None]
            results.append((pairs, probabilities[high]))
        return results

    def _select(self, parts: Sequence[tuple[FloatArray, FloatArray]]) -> list[Candidate]:
        """Merge overlapping detections by their weighted mean, as MediaPipe does."""
        pairs = np.concatenate([values for values, _ in parts])
        scores = np.concatenate([scores for _, scores in parts])
        order = np.argsort(-scores, kind="stable")
        pairs, scores = pairs[order], scores[order]
        boxes = np.concatenate([pairs[:, 0] - abs(pairs[:, 1]) / 2, pairs[:, 0] + abs(pairs[:, 1]) / 2], axis=1)

        candidates = []
        rest = np.arange(len(pairs))
        while rest.size and len(candidates) < MAX_CANDIDATES:
            overlaps = compute_iou(boxes[rest[0]], boxes[rest]) > 0.3
            overlaps[0] = True
            group, rest = rest[overlaps], rest[~overlaps]
            # Angles of other orientations would cancel each other.
            eyes = pairs[group][:, _EYES]
            across = eyes[:, 1] - eyes[:, 0]
            same = group[across @ across[0] > 0]
            mean = np.average(pairs[same], axis=0, weights=scores[same])
            across = mean[3] - mean[2]
            angle = float(np.arctan2(across[1], across[0]))
            score = float(scores[group[0]])
            candidates.append(Candidate(mean[0], float(abs(mean[1]).max()), angle, score, mean[_LANDMARKS]))
        return candidates


def choose_batch_size(device: torch.device) -> int:
    """Return the number of inputs per run of a network: 16, or 1 on a CPU."""
    return 1 if device.type == "cpu" else 16


def _shrink(image: Image, limits: tuple[int, int], preferred: float) -> tuple[Image, float]:
    """Scale a picture to an input of a network; return it, padded to a multiple of 32 pixels, and its scale.

    `limits` is the range of the longer side of the input in pixels; within it, the scale is `preferred`.
    """
    height, width = image.shape[:2]
    low, high = limits
    target = min(max(max(height, width) * preferred, low), high)
    scale = target / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(image, size, interpolation=interpolation)
    padding = [(-side) % _MULTIPLE for side in small.shape[:2]]
    padded = cv2.copyMakeBorder(small, 0, padding[0], 0, padding[1], cv2.BORDER_CONSTANT)
    return np.asarray(padded, dtype=np.uint8), scale


def _list_anchors(levels: Sequence[tuple[int, int]], height: int, width: int) -> FloatArray:
    """Return the positions of the anchors, (x, y) in pixels of the input, float32 (anchors, 2)."""
    positions = []
    for stride, count in levels:
        y, x = np.mgrid[0 : height // stride, 0 : width // stride]
        centers = (np.stack([x.ravel(), y.ravel()], axis=1) + 0.5) * stride
        positions.append(np.repeat(centers, count, axis=0))
    return np.concatenate(positions).astype(np.float32)


def _turn_back(pairs: FloatArray, shape: tuple[int, ...], turn: int) -> FloatArray:
    """Map positions and sizes in a turned picture of a shape (height, width, ...) to the picture before it was turned.

    A counterclockwise turn maps (x, y) in a picture of width W to (y, W - x).
    """
    height, width = shape[:2]
    for _ in range(turn % 4):
        turned = np.stack([height - pairs[..., 1], pairs[..., 0]], axis=-1)
        turned[:, 1] = pairs[:, 1, ::-1]  # sizes have no direction
        pairs, (height, width) = turned, (width, height)
    return pairs
