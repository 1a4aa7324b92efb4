"""Layers that several networks share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def full_precision(tensor: Tensor) -> torch.autocast:
    """A context without autocast on the tensor's device.

    Coordinates need it: bfloat16 tells apart only 256 positions between 0.5 and 1.
    """
    # A network that is built without memory, on the device `meta`, has no autocast to switch off.
    device_type = "cpu" if tensor.is_meta else tensor.device.type
    return torch.autocast(device_type=device_type, enabled=False)


class ConvBlock(nn.Module):
    """Convolution (kernel 3, padding 1), batch norm and leaky ReLU.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        dimensions: 2 for pictures, 3 for volumes.
        slope: of the activation below zero; 0 is a plain ReLU.
    """

    def __init__(self, inputs: int, outputs: int, *, dimensions: int, slope: float = 0.0) -> None:
        super().__init__()
        convolution, norm = {2: (nn.Conv2d, nn.BatchNorm2d), 3: (nn.Conv3d, nn.BatchNorm3d)}[dimensions]
        self.conv = convolution(inputs, outputs, kernel_size=3, padding=1)
        self.norm = norm(outputs)
        self.activation = nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Keeps height, width and depth."""
        return self.activation(self.norm(self.conv(x)))


class DownBlock(ConvBlock):
    """A `ConvBlock`, then half the height and width; the depth of a volume stays."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., height, width) to (..., height / 2, width / 2)."""
        x = super().forward(x)
        return F.avg_pool2d(x, 2) if x.ndim == 4 else F.avg_pool3d(x, (1, 2, 2))
