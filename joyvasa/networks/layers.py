"""Layers shared by several networks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def full_precision(tensor: Tensor) -> torch.autocast:
    """Return a context that disables autocast on the device of a tensor.

    Coordinates need full precision: bfloat16 has only 128 values between 0.5 and 1.
    """
    # The `meta` device has no autocast.
    device_type = "cpu" if tensor.is_meta else tensor.device.type
    return torch.autocast(device_type=device_type, enabled=False)


class ConvBlock(nn.Module):
    """Convolution (kernel 3, padding 1), batch norm and leaky ReLU with a negative slope, for 2 or 3 dimensions."""

    def __init__(self, inputs: int, outputs: int, *, dimensions: int, slope: float = 0.0) -> None:
        super().__init__()
        convolution, norm = {2: (nn.Conv2d, nn.BatchNorm2d), 3: (nn.Conv3d, nn.BatchNorm3d)}[dimensions]
        self.conv = convolution(inputs, outputs, kernel_size=3, padding=1)
        self.norm = norm(outputs)
        self.activation = nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, ...) to (batch, outputs, ...)."""
        return self.activation(self.norm(self.conv(x)))


class DownBlock(ConvBlock):
    """`ConvBlock`, then average pooling that halves height and width, not the depth of a volume."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., height, width) to (..., height / 2, width / 2)."""
        x = super().forward(x)
        return F.avg_pool2d(x, 2) if x.ndim == 4 else F.avg_pool3d(x, (1, 2, 2))
