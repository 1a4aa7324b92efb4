"""Paste-back on the device of the networks, so that only blended pixels are copied to the host."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from torch import Tensor

from joyvasa.faces.paster import INTERPOLATION_BITS, Paster

_ONE = 1 << INTERPOLATION_BITS


class DevicePaster:
    """Compute the rectangle that `Paster` changes on a device, with identical pixels.

    Like `cv2.remap`, it interpolates between four pixels with integer weights, whose sums are exact in float32.

    Args:
        paster: paster of the picture.
        side: side of the frames, pixels.
        device: device of the frames.
    """

    def __init__(self, paster: Paster, side: int, device: torch.device) -> None:
        left, top, right, bottom = paster.rectangle
        self._shape = bottom - top, right - left, 3
        blend = paster.get_blend(side)

        (x, y), parts = blend.maps[0].reshape(-1, 2).T.astype(np.int64), blend.maps[1].reshape(-1)
        part_x, part_y = (part.astype(np.float32) for part in (parts & (_ONE - 1), parts >> INTERPOLATION_BITS))
        self._neighbors: list[tuple[Tensor, Tensor]] = []  # flat indices in a frame (n,), weights (n, 1)
        for dx, dy in product((0, 1), repeat=2):
            column, row = x + dx, y + dy
            inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
            index = np.where(inside, row * side + column, side * side)  # the last pixel is black
            weight = (part_x if dx else _ONE - part_x) * (part_y if dy else _ONE - part_y)
            self._neighbors.append((torch.from_numpy(index).to(device), torch.from_numpy(weight[:, None]).to(device)))

        coverage = (blend.visible.reshape(-1, 1) > 0).astype(np.float32)
        coverage[blend.blended] = blend.weight
        self._coverage = torch.from_numpy(coverage).to(device)
        region = paster.picture[top:bottom, left:right].reshape(-1, 3)
        self._under = torch.from_numpy((1 - coverage) * region).to(device)
        self._black = torch.zeros(1, 3, dtype=torch.uint8, device=device)

    def paste(self, frames: Tensor) -> Tensor:
        """Paste frames into the rectangle, one at a time to limit memory.

        Args:
            frames: uint8 RGB (frames, side, side, 3), on the device.

        Returns:
            Patches for `Paster.insert_patches`, uint8 RGB (frames, height, width, 3) with the size of its rectangle.
        """
        result = torch.empty((len(frames), *self._shape), dtype=torch.uint8, device=frames.device)
        for frame, pasted in zip(frames, result, strict=True):
            pixels = torch.cat([frame.reshape(-1, 3), self._black])
            mixed = torch.zeros_like(self._under)
            for index, weight in self._neighbors:
                mixed += pixels[index] * weight
            warped = mixed.add_(_ONE * _ONE // 2).div_(_ONE * _ONE).floor_()
            pasted.copy_(warped.mul_(self._coverage).add_(self._under).view(self._shape))
        return result
