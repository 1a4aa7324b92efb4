"""Paste-back where the networks run, so that finished pixels leave the device and the host only sets them in."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from torch import Tensor

from joyvasa.faces.paster import INTERPOLATION_BITS, Paster

_ONE = 1 << INTERPOLATION_BITS


class DevicePaster:
    """The rectangle that `Paster` changes, computed on a device; pixels are the same.

    Like `cv2.remap`, it mixes four neighbors by integer weights, whose sums are exact in float32.

    Args:
        paster: of the picture.
        side: of the frames, pixels.
        device: of the frames.
    """

    def __init__(self, paster: Paster, side: int, device: torch.device) -> None:
        left, top, right, bottom = paster.rectangle
        self._shape = bottom - top, right - left, 3
        blend = paster.blend(side)
        (x, y), parts = blend.maps[0].reshape(-1, 2).T.astype(np.int64), blend.maps[1].reshape(-1)
        part_x, part_y = (part.astype(np.float32) for part in (parts & (_ONE - 1), parts >> INTERPOLATION_BITS))
        self._neighbors: list[tuple[Tensor, Tensor]] = []  # flat index (n,) in a frame, and weight (n, 1)
        for right_one, lower_one in product((0, 1), repeat=2):
            column, row = x + right_one, y + lower_one
            inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
            index = np.where(inside, row * side + column, side * side)  # the last one is black
            weight = (part_x if right_one else _ONE - part_x) * (part_y if lower_one else _ONE - part_y)
            self._neighbors.append((torch.from_numpy(index).to(device), torch.from_numpy(weight[:, None]).to(device)))
        share = (blend.visible.reshape(-1, 1) > 0).astype(np.float32)
        share[blend.blended] = blend.weight
        self._share = torch.from_numpy(share).to(device)
        self._under = torch.from_numpy((1 - share) * paster.picture[top:bottom, left:right].reshape(-1, 3)).to(device)
        self._black = torch.zeros(1, 3, dtype=torch.uint8, device=device)

    def paste(self, frames: Tensor) -> Tensor:
        """Frame by frame, as memory is that of the rectangle in float32.

        Args:
            frames: uint8 RGB (frames, side, side, 3), on the device.

        Returns:
            uint8 RGB (frames, height, width, 3), the size of `Paster.rectangle`; for `Paster.place`.
        """
        result = torch.empty((len(frames), *self._shape), dtype=torch.uint8, device=frames.device)
        for frame, pasted in zip(frames, result, strict=True):
            pixels = torch.cat([frame.reshape(-1, 3), self._black])
            mixed = torch.zeros_like(self._under)
            for index, weight in self._neighbors:
                mixed += pixels[index] * weight
            warped = mixed.add_(_ONE * _ONE // 2).div_(_ONE * _ONE).floor_()
            pasted.copy_(warped.mul_(self._share).add_(self._under).view(self._shape))
        return result
