"""3x3 convolutions of maps that were enlarged by repeating pixels, without making the large map first.

In such a map a kernel sees few different things: one axis of a map enlarged `factor` times has at most three kinds of
places, at the beginning of a repeated pixel, inside it and at its end. For each kind the kernel shrinks to two taps on
the small map, sums of its three. The result is exact but for the order of the sums.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from joyvasa.networks.cpu.winograd import conv3x3
from joyvasa.networks.layers import full_precision
from joyvasa.networks.warping_module import UpBlock

# Two taps from three for each kind of place, shape (taps, taps of the kernel). The first tap lies on the pixel before.
_BEGIN = ((1.0, 0.0, 0.0), (0.0, 1.0, 1.0))
_INSIDE = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
_END = ((1.0, 1.0, 0.0), (0.0, 0.0, 1.0))  # here the second tap lies on the pixel after


def kinds_of_places(factor: int) -> int:
    """Kinds of places along an axis."""
    return min(factor, 3)


def phase_kernels(weight: Tensor, factor: int) -> Tensor:
    """Kernels for the small map, one for each kind of place.

    Args:
        weight: shape (outputs, inputs, ..., 3, 3).
        factor: at least 2.

    Returns:
        shape (kinds * kinds * outputs, inputs, ..., 2, 2), the kind along the height first.
    """
    taps = weight.new_tensor((_BEGIN, _END) if factor == 2 else (_BEGIN, _INSIDE, _END))
    with full_precision(weight):  # sums of weights lose digits in half precision
        kernels = torch.einsum("pyi,qxj,...ij->pq...yx", taps, taps, weight)
    return kernels.flatten(0, 2)


def conv3x3_upsampled(x: Tensor, weight: Tensor, bias: Tensor | None, factor: int, *, relu: bool = False) -> Tensor:
    """A 3x3 (or 3x3x3) convolution with padding 1 of `x` enlarged to `factor` times its height and width.

    Args:
        x: shape (batch, inputs, height, width), or (batch, inputs, depth, height, width).
        weight: of the convolution.
        bias: shape (outputs,).
        factor: 1 or more; how often pixels are repeated.
        relu: clip the result at zero.

    Returns:
        shape (batch, outputs, ..., factor * height, factor * width).
    """
    convolution = F.conv2d if x.ndim == 4 else F.conv3d
    if factor == 1:
        y = conv3x3(x, weight, bias) if x.ndim == 4 else F.conv3d(x, weight, bias, padding=1)
        return F.relu(y, inplace=True) if relu else y
    kinds, (height, width) = kinds_of_places(factor), x.shape[-2:]
    outputs = len(weight)
    bias = None if bias is None else bias.repeat(kinds * kinds)
    y = convolution(x, phase_kernels(weight, factor), bias, padding=1)  # one more row and column than x
    if relu:
        y = F.relu(y, inplace=True)
    result = y.new_empty(*y.shape[:1], outputs, *y.shape[2:-2], height, factor, width, factor)
    y = y.unflatten(1, (kinds, kinds, outputs))
    kind_at = [0, *[1] * (factor - 2), kinds - 1]
    for i, kind_y in enumerate(kind_at):
        for j, kind_x in enumerate(kind_at):
            top, left = int(i == factor - 1), int(j == factor - 1)
            part = y[:, kind_y, kind_x, ..., top : top + height, left : left + width]
            result[..., i, :, j] = part
    return result.flatten(-2).flatten(-3, -2)


class FastUpBlock(UpBlock):
    """An `UpBlock` that convolves the small volume."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., depth, height, width) to (..., depth, 2 height, 2 width)."""
        x = conv3x3_upsampled(x, self.conv.weight, self.conv.bias, 2)
        return self.activation(self.norm(x))
