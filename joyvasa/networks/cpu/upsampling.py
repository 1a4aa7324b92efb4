"""3x3 convolutions of nearest-neighbor upsampled maps, computed on the small map.

Along each axis, an output pixel has one of at most three phases: at the start of a repeated pixel, inside it, or at its
end. For each phase the three taps of the kernel add up to two taps on the small map. The result is exact except for the
order of the sums.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from joyvasa.networks.cpu.winograd import conv3x3
from joyvasa.networks.layers import full_precision
from joyvasa.networks.warping_module import UpBlock

# Two taps from three for each phase, shape (taps, taps of the kernel). The first tap is on the previous pixel.
_START = ((1.0, 0.0, 0.0), (0.0, 1.0, 1.0))
_INSIDE = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
_END = ((1.0, 1.0, 0.0), (0.0, 0.0, 1.0))  # here the second tap is on the next pixel


def phase_kernels(weight: Tensor, factor: int) -> Tensor:
    """Return the kernels for the small map, one per phase: (phases * phases * outputs, inputs, ..., 2, 2).

    Phases along the height come first. `weight` are those for the large map, (outputs, inputs, ..., 3, 3); `factor`, by
    which it is larger, is at least 2.
    """
    taps = weight.new_tensor((_START, _END) if factor == 2 else (_START, _INSIDE, _END))
    with full_precision(weight):  # sums of weights lose digits in half precision
        kernels = torch.einsum("pyi,qxj,...ij->pq...yx", taps, taps, weight)
    return kernels.flatten(0, 2)


def conv3x3_upsampled(x: Tensor, weight: Tensor, bias: Tensor | None, factor: int, *, relu: bool = False) -> Tensor:
    """Upsample height and width (nearest), then convolve with a 3x3 or 3x3x3 kernel and padding 1.

    Args:
        x: map, shape (batch, inputs, height, width), or volume, shape (batch, inputs, depth, height, width).
        weight: kernels, shape (outputs, inputs, 3, 3) or (outputs, inputs, 3, 3, 3).
        bias: bias, shape (outputs,).
        factor: upsampling factor, at least 1.
        relu: whether to apply ReLU to the result.

    Returns:
        Result, shape (batch, outputs, ..., factor * height, factor * width).
    """
    convolution = F.conv2d if x.ndim == 4 else F.conv3d
    if factor == 1:
        y = conv3x3(x, weight, bias)
        return F.relu(y, inplace=True) if relu else y

    n_phases, outputs, (height, width) = min(factor, 3), len(weight), x.shape[-2:]
    bias = None if bias is None else bias.repeat(n_phases * n_phases)
    y = convolution(x, phase_kernels(weight, factor), bias, padding=1)  # one more row and column than x
    if relu:
        y = F.relu(y, inplace=True)

    result = y.new_empty(*y.shape[:1], outputs, *y.shape[2:-2], height, factor, width, factor)
    y = y.unflatten(1, (n_phases, n_phases, outputs))
    phases = [0, *[1] * (factor - 2), n_phases - 1]
    for i, phase_y in enumerate(phases):
        for j, phase_x in enumerate(phases):
            top, left = int(i == factor - 1), int(j == factor - 1)
            result[..., i, :, j] = y[:, phase_y, phase_x, ..., top : top + height, left : left + width]
    return result.flatten(-2).flatten(-3, -2)


class FastUpBlock(UpBlock):
    """`UpBlock` that convolves the volume before upsampling."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., depth, height, width) to (..., depth, 2 height, 2 width)."""
        x = conv3x3_upsampled(x, self.conv.weight, self.conv.bias, 2)
        return self.activation(self.norm(x))
