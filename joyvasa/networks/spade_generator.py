"""G: decodes a warped feature map into an image (LivePortrait's SPADE generator).

SPADE: Park et al. 2019, "Semantic Image Synthesis with Spatially-Adaptive Normalization"; here the conditioning map is
the input of the generator itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.networks.config import NetworkConfig
from joyvasa.networks.layers import full_precision

SLOPE = 0.2  # negative slope of every leaky ReLU


@dataclass(frozen=True, kw_only=True)
class SpadeGeneratorConfig(NetworkConfig):
    """Sizes; the defaults are those of the published weights."""

    channels: int = 256  # channels of the feature map
    middle_channels: int = 512
    middle_blocks: int = 6
    up_channels: tuple[int, ...] = (256, 64)  # after each block that doubles height and width
    hidden_channels: int = 128  # inside SPADE
    upscale: int = 2  # factor of the final pixel shuffle


class SpectralNormConv2d(nn.Module):
    """Convolution whose weight is divided by its largest singular value.

    Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks". The singular vectors `weight_u`
    and `weight_v` are stored with the weight; each call in training mode updates them by one power iteration.
    """

    weight_u: Tensor  # (outputs,)
    weight_v: Tensor  # (inputs * kernel_size**2,)

    def __init__(self, inputs: int, outputs: int, *, kernel_size: Literal[1, 3], bias: bool = True) -> None:
        super().__init__()
        convolution = nn.Conv2d(inputs, outputs, kernel_size)
        self.padding = kernel_size // 2
        self.bias = convolution.bias if bias else None
        self.weight_orig = convolution.weight
        self.register_buffer("weight_u", F.normalize(torch.randn(outputs), dim=0))
        self.register_buffer("weight_v", torch.empty(inputs * kernel_size**2))
        self._power_iteration()

    @torch.no_grad()
    def _power_iteration(self) -> None:
        matrix = self.weight_orig.flatten(1)
        with full_precision(matrix):
            self.weight_v.copy_(F.normalize(matrix.T @ self.weight_u, dim=0))
            self.weight_u.copy_(F.normalize(matrix @ self.weight_v, dim=0))

    def effective_weight(self) -> Tensor:
        """Return the weight divided by its largest singular value."""
        with full_precision(self.weight_orig):
            return self.weight_orig / torch.dot(self.weight_u, self.weight_orig.flatten(1) @ self.weight_v)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, height, width) to (batch, outputs, height, width)."""
        if self.training:
            self._power_iteration()
        return F.conv2d(x, self.effective_weight(), self.bias, padding=self.padding)


class Spade(nn.Module):
    """Instance norm, then a scale and shift computed from a conditioning map."""

    def __init__(self, channels: int, condition_channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.mlp_shared = nn.Sequential(
            nn.Conv2d(condition_channels, hidden_channels, kernel_size=3, padding=1), nn.ReLU(inplace=True)
        )
        self.mlp_gamma = nn.Conv2d(hidden_channels, channels, kernel_size=3, padding=1)
        self.mlp_beta = nn.Conv2d(hidden_channels, channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Normalize `x`; the conditioning map is upsampled (nearest) to its height and width."""
        hidden = self.mlp_shared(F.interpolate(condition, size=x.shape[2:]))
        return F.instance_norm(x) * (1 + self.mlp_gamma(hidden)) + self.mlp_beta(hidden)


class SpadeBlock(nn.Module):
    """Two convolutions, each after SPADE and leaky ReLU, with a shortcut.

    If the number of channels changes, the shortcut consists of SPADE and a 1x1 convolution.
    """

    def __init__(self, inputs: int, outputs: int, config: SpadeGeneratorConfig) -> None:
        super().__init__()
        middle = min(inputs, outputs)
        self.conv_0 = SpectralNormConv2d(inputs, middle, kernel_size=3)
        self.conv_1 = SpectralNormConv2d(middle, outputs, kernel_size=3)
        self.norm_0 = Spade(inputs, config.channels, config.hidden_channels)
        self.norm_1 = Spade(middle, config.channels, config.hidden_channels)
        self.learned_shortcut = inputs != outputs
        if self.learned_shortcut:
            self.conv_s = SpectralNormConv2d(inputs, outputs, kernel_size=1, bias=False)
            self.norm_s = Spade(inputs, config.channels, config.hidden_channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map (batch, inputs, height, width) to (batch, outputs, height, width)."""
        y = self.conv_0(F.leaky_relu(self.norm_0(x, condition), SLOPE))
        y = self.conv_1(F.leaky_relu(self.norm_1(y, condition), SLOPE))
        return y + (self.conv_s(self.norm_s(x, condition)) if self.learned_shortcut else x)


class UpSpadeBlock(SpadeBlock):
    """Nearest-neighbor upsampling by 2, then a `SpadeBlock`."""

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map (batch, channels, height, width) to (batch, outputs, 2 height, 2 width)."""
        return super().forward(F.interpolate(x, scale_factor=2), condition)


class SpadeGenerator(nn.Module):
    """Decoder from the warped feature map to the image."""

    def __init__(self, config: SpadeGeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SpadeGeneratorConfig()
        self.fc = nn.Conv2d(config.channels, config.middle_channels, kernel_size=3, padding=1)
        for i in range(config.middle_blocks):
            block = SpadeBlock(config.middle_channels, config.middle_channels, config)
            self.add_module(f"G_middle_{i}", block)

        widths = (config.middle_channels, *config.up_channels)
        for i, outputs in enumerate(config.up_channels):
            self.add_module(f"up_{i}", UpSpadeBlock(widths[i], outputs, config))

        self.conv_img = nn.Sequential(
            nn.Conv2d(widths[-1], 3 * config.upscale**2, kernel_size=3, padding=1), nn.PixelShuffle(config.upscale)
        )

    def forward(self, feature: Tensor) -> Tensor:
        """Map the warped features, (batch, 256, 64, 64), to an RGB image in (0, 1), (batch, 3, 512, 512), float32."""
        x = self.fc(feature)  # (B, 512, 64, 64)
        for i in range(self.config.middle_blocks):
            x = self.get_submodule(f"G_middle_{i}")(x, feature)  # (B, 512, 64, 64)
        for i in range(len(self.config.up_channels)):
            x = self.get_submodule(f"up_{i}")(x, feature)  # (B, 256, 128, 128), (B, 64, 256, 256)
        x = self.conv_img(F.leaky_relu(x, SLOPE))  # (B, 3, 512, 512)
        return torch.sigmoid(x.float())
