"""G: a warped feature map becomes a picture (LivePortrait's SPADE generator).

SPADE: Park et al. 2019, "Semantic Image Synthesis with Spatially-Adaptive Normalization"; the
conditioning map is the generator's own input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.networks.config import NetworkConfig
from joyvasa.networks.cpu.tensor_cache import Remembered
from joyvasa.networks.cpu.upsampled import conv_enlarged
from joyvasa.networks.cpu.winograd import conv3x3
from joyvasa.networks.layers import full_precision

SLOPE = 0.2  # of every leaky ReLU


@dataclass(frozen=True, kw_only=True)
class SpadeGeneratorConfig(NetworkConfig):
    """Sizes; the defaults are those of the published weights."""

    channels: int = 256  # of the feature map
    middle_channels: int = 512
    middle_blocks: int = 6
    up_channels: tuple[int, ...] = (256, 64)  # after each block that doubles height and width
    hidden_channels: int = 128  # inside the normalisation
    upscale: int = 2  # of the last step, by pixel shuffle


class SpectralNormConv2d(nn.Module):
    """Convolution whose weight is divided by its largest singular value.

    Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks". The singular
    vectors `weight_u` and `weight_v` are stored with the weight; training improves them by one step
    of power iteration per call, evaluation takes them as they are.
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
        self._effective = Remembered()
        self._power_iteration()

    @torch.no_grad()
    def _power_iteration(self) -> None:
        matrix = self.weight_orig.flatten(1)
        with full_precision(matrix):
            self.weight_v.copy_(F.normalize(matrix.T @ self.weight_u, dim=0))
            self.weight_u.copy_(F.normalize(matrix @ self.weight_v, dim=0))

    def effective_weight(self) -> Tensor:
        """The weight divided by its largest singular value."""

        def divided() -> Tensor:
            with full_precision(self.weight_orig):
                return self.weight_orig / torch.dot(self.weight_u, self.weight_orig.flatten(1) @ self.weight_v)

        return self._effective.get((self.weight_orig, self.weight_u, self.weight_v), divided)

    def forward(self, x: Tensor) -> Tensor:
        """Keeps height and width."""
        if self.training:
            self._power_iteration()
        if self.padding == 0:
            return F.conv2d(x, self.effective_weight(), self.bias)
        return conv3x3(x, self.effective_weight(), self.bias)


class Spade(nn.Module):
    """Scale and shift of a normalised map, computed from a conditioning map."""

    def __init__(self, channels: int, condition_channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.mlp_shared = nn.Sequential(
            nn.Conv2d(condition_channels, hidden_channels, kernel_size=3, padding=1), nn.ReLU(inplace=True)
        )
        self.mlp_gamma = nn.Conv2d(hidden_channels, channels, kernel_size=3, padding=1)
        self.mlp_beta = nn.Conv2d(hidden_channels, channels, kernel_size=3, padding=1)

    def forward(self, normalised: Tensor, condition: Tensor) -> Tensor:
        """Keeps the shape of the normalised map, which is a multiple of that of the conditioning map."""
        hidden = self.hidden(condition, normalised)
        shift = conv3x3(hidden, self.mlp_beta.weight, self.mlp_beta.bias)
        return torch.addcmul(shift, normalised, self.scale(hidden))

    def hidden(self, condition: Tensor, normalised: Tensor) -> Tensor:
        """What scale and shift are computed from; the conditioning map is enlarged by repeating its pixels."""
        shared: nn.Conv2d = self.mlp_shared[0]  # type: ignore[assignment]
        factor = normalised.shape[-1] // condition.shape[-1]
        return conv_enlarged(condition, shared.weight, shared.bias, factor, relu=True)

    def scale(self, hidden: Tensor) -> Tensor:
        """1 + gamma."""
        assert self.mlp_gamma.bias is not None
        return conv3x3(hidden, self.mlp_gamma.weight, self.mlp_gamma.bias + 1)


class SpadeBlock(nn.Module):
    """Two convolutions, each after SPADE and leaky ReLU, added to the input.

    Where the number of channels changes, the input passes SPADE and a 1x1 convolution first.
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

    def forward(self, x: Tensor, condition: Tensor, factor: int = 1) -> Tensor:
        """Enlarges height and width to `factor` times by repeating pixels, and keeps them."""
        # Repeated pixels have the mean and deviation of the single ones.
        normalised = enlarge(F.instance_norm(x), factor)
        y = self.conv_0(F.leaky_relu(self.norm_0(normalised, condition), SLOPE, inplace=True))
        y = self.conv_1(F.leaky_relu(self.norm_1(F.instance_norm(y), condition), SLOPE, inplace=True))
        return y + (self._shortcut(normalised, condition) if self.learned_shortcut else enlarge(x, factor))

    def _shortcut(self, normalised: Tensor, condition: Tensor) -> Tensor:
        """`conv_s(norm_s(x))`. With no activation between them, the convolution of the shift is one with `conv_s`."""
        hidden = self.norm_s.hidden(condition, normalised)
        beta, mix = self.norm_s.mlp_beta, self.conv_s.effective_weight()[:, :, 0, 0]  # (outputs, inputs)
        assert beta.bias is not None
        with full_precision(mix):
            weight, bias = torch.einsum("oi,ihyx->ohyx", mix, beta.weight), mix @ beta.bias
        return self.conv_s(normalised * self.norm_s.scale(hidden)) + conv3x3(hidden, weight, bias)


def enlarge(x: Tensor, factor: int) -> Tensor:
    """Repeats each pixel of (batch, channels, height, width) along height and width."""
    return x if factor == 1 else F.interpolate(x, scale_factor=factor)


class SpadeGenerator(nn.Module):
    """Paints the picture from the warped feature map."""

    def __init__(self, config: SpadeGeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SpadeGeneratorConfig()
        self.fc = nn.Conv2d(config.channels, config.middle_channels, kernel_size=3, padding=1)
        for i in range(config.middle_blocks):
            block = SpadeBlock(config.middle_channels, config.middle_channels, config)
            self.add_module(f"G_middle_{i}", block)
        widths = (config.middle_channels, *config.up_channels)
        for i, outputs in enumerate(config.up_channels):
            self.add_module(f"up_{i}", SpadeBlock(widths[i], outputs, config))
        self.conv_img = nn.Sequential(
            nn.Conv2d(widths[-1], 3 * config.upscale**2, kernel_size=3, padding=1), nn.PixelShuffle(config.upscale)
        )

    def forward(self, feature: Tensor) -> Tensor:
        """Computes the picture.

        Args:
            feature: shape (batch, 256, 64, 64).

        Returns:
            RGB in (0, 1), shape (batch, 3, 512, 512), float32.
        """
        x = self.fc(feature)  # (B, 512, 64, 64)
        for i in range(self.config.middle_blocks):
            x = self.get_submodule(f"G_middle_{i}")(x, feature)  # (B, 512, 64, 64)
        for i in range(len(self.config.up_channels)):
            x = self.get_submodule(f"up_{i}")(x, feature, 2)  # (B, 256, 128, 128), (B, 64, 256, 256)
        x = self.conv_img(F.leaky_relu(x, SLOPE))  # (B, 3, 512, 512)
        return torch.sigmoid(x.float())
