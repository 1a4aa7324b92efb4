"""Extraction of motion from crops of a face, frame by frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from joyvasa.media.image import Image
from joyvasa.motion.keypoints import KeypointInfo
from joyvasa.motion.sequence import MotionSequence
from joyvasa.networks.pictures import to_network_input
from joyvasa.runtime.device import Precision, autocast


@dataclass(frozen=True, eq=False)
class CropMotionReader:
    """Reads pose and expression of face crops with the motion extractor, in batches."""

    network: nn.Module  # motion extractor, on `device`
    input_size: int  # side of the network's input pictures, pixels
    device: torch.device  # device of the network
    precision: Precision  # precision of the forward pass
    batch_frames: int  # crops per batch

    def read(self, crops: Iterable[Image], frames_per_second: float) -> MotionSequence:
        """Return the motion of consecutive crops; only one batch of them is in memory at a time.

        Args:
            crops: crops of one face, uint8 RGB (side, side, 3); at least one.
            frames_per_second: frame rate of the crops.
        """
        parts: list[tuple[Tensor, Tensor]] = []  # expression and pose
        batch: list[Tensor] = []
        for crop in crops:
            batch.append(to_network_input(crop, self.input_size))
            if len(batch) == self.batch_frames:
                parts.append(self._run_network(batch))
                batch = []
        if batch:
            parts.append(self._run_network(batch))

        expression, pose = (torch.cat(columns) for columns in zip(*parts, strict=True))
        return MotionSequence.from_pose(expression, pose, frames_per_second)

    @torch.inference_mode()
    def _run_network(self, pictures: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        with autocast(self.device, self.precision):
            info = KeypointInfo.from_heads(self.network(torch.cat(list(pictures)).to(self.device)))
        pose = torch.cat([info.scale, info.translation, info.pitch, info.yaw, info.roll], dim=1)
        return info.expression.float().cpu(), pose.float().cpu()
