"""Blocks of BlazeFace and of the face mesh (Bazarevsky et al. 2019, arXiv:1907.05047)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def to_channels_last(network: nn.Module) -> nn.Module:
    """Store the kernels of a network, in place, in the order in which these narrow networks are fastest on CPUs."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's padding `SAME`: of an odd total, the larger part is at the right and bottom.

    Height and width of the input must be multiples of the stride.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        total = kernel - stride
        symmetric = total % 2 == 0
        super().__init__(inputs, outputs, kernel, stride=stride, padding=total // 2 if symmetric else 0, groups=groups)
        self._missing = None if symmetric else (total // 2, total - total // 2) * 2

    def forward(self, input: Tensor) -> Tensor:
        """Map (batch, inputs, height, width) to (batch, outputs, height / stride, width / stride)."""
        return super().forward(input if self._missing is None else F.pad(input, self._missing))


def separable(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    """Build a depthwise convolution with a 3x3 kernel and a pointwise one."""
    return nn.Sequential(
        SameConv2d(inputs, inputs, 3, stride=stride, groups=inputs), nn.Conv2d(inputs, outputs, kernel_size=1)
    )


class BlazeBlock(nn.Module):
    """Residual block of separable convolutions; the shortcut is pooled and padded with channels of zeros.

    Args:
        inputs: number of input channels.
        outputs: number of output channels, at least `inputs`.
        stride: 1 or 2.
        hidden: channels between two separable convolutions; None for a single one.
        prelu: whether the activation is a PReLU instead of a ReLU.
    """

    def __init__(
        self, inputs: int, outputs: int, *, stride: int = 1, hidden: int | None = None, prelu: bool = False
    ) -> None:
        super().__init__()
        if hidden is None:
            self.path = separable(inputs, outputs, stride=stride)
        else:
            self.path = nn.Sequential(
                separable(inputs, hidden, stride=stride), nn.ReLU(inplace=True), separable(hidden, outputs)
            )
        self.activation = nn.PReLU(outputs) if prelu else nn.ReLU(inplace=True)
        self._stride, self._added_channels = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, height, width) to (batch, outputs, height / stride, width / stride)."""
        shortcut = F.max_pool2d(x, 2) if self._stride == 2 else x
        if self._added_channels:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, self._added_channels))
        return self.activation(shortcut + self.path(x))


def chain(channels: int, sizes: Iterable[tuple[int, ...]], *, prelu: bool = False) -> Iterator[BlazeBlock]:
    """Build blocks in a row, each of a size (output channels, stride[, hidden channels])."""
    for outputs, stride, *hidden in sizes:
        yield BlazeBlock(channels, outputs, stride=stride, hidden=hidden[0] if hidden else None, prelu=prelu)
        channels = outputs
