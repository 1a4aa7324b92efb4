"""Warping module and generator, written down as the papers have them: nothing folded, shared or exploited.

The yardstick for how much faster the networks of `joyvasa.networks` are; names of parameters are the same.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor, nn

from joyvasa.networks.spade_generator import SpadeGeneratorConfig
from joyvasa.networks.warping_module import WarpingConfig

HEAT_VARIANCE = 0.01  # face-vid2vid
SLOPE = 0.2  # of the leaky ReLUs of SPADE


class _Block(nn.Module):
    """Convolution, batch norm, activation; between two changes of size."""

    def __init__(self, inputs: int, outputs: int, dimensions: int, *, slope: float = 0.0, scale: float = 1.0) -> None:
        super().__init__()
        convolution, norm = {2: (nn.Conv2d, nn.BatchNorm2d), 3: (nn.Conv3d, nn.BatchNorm3d)}[dimensions]
        self.conv = convolution(inputs, outputs, kernel_size=3, padding=1)
        self.norm = norm(outputs)
        self._slope, self._scale = slope, scale

    def forward(self, x: Tensor) -> Tensor:
        if self._scale > 1:
            x = F.interpolate(x, scale_factor=(1, 2, 2))
        x = F.leaky_relu(self.norm(self.conv(x)), self._slope)
        return F.avg_pool3d(x, (1, 2, 2)) if self._scale < 1 else x


class _Encoder(nn.Module):
    def __init__(self, config: WarpingConfig) -> None:
        super().__init__()
        widths = [config.hourglass_inputs, *(config.width(i + 1) for i in range(config.hourglass_blocks))]
        self.down_blocks = nn.ModuleList(_Block(a, b, 3, scale=0.5) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        results = [x]
        for block in self.down_blocks:
            results.append(block(results[-1]))
        return results


class _Decoder(nn.Module):
    def __init__(self, config: WarpingConfig) -> None:
        super().__init__()
        levels = [*reversed(range(config.hourglass_blocks))]
        joined = [1, *[2] * (len(levels) - 1)]
        self.up_blocks = nn.ModuleList(
            _Block(n * config.width(level + 1), config.width(level), 3, scale=2)
            for n, level in zip(joined, levels, strict=True)
        )
        channels = config.width(0) + config.hourglass_inputs
        self.conv = nn.Conv3d(channels, channels, kernel_size=3, padding=1)
        self.norm = nn.BatchNorm3d(channels)

    def forward(self, encoded: list[Tensor]) -> Tensor:
        x = encoded.pop()
        for block in self.up_blocks:
            x = torch.cat([block(x), encoded.pop()], dim=1)
        return F.relu(self.norm(self.conv(x)))


class _DenseMotion(nn.Module):
    def __init__(self, config: WarpingConfig) -> None:
        super().__init__()
        channels = config.hourglass_inputs + config.width(0)
        self.compress = nn.Conv3d(config.channels, config.compressed_channels, kernel_size=1)
        self.norm = nn.BatchNorm3d(config.compressed_channels)
        self.hourglass = nn.ModuleDict({"encoder": _Encoder(config), "decoder": _Decoder(config)})
        self.mask = nn.Conv3d(channels, config.keypoints + 1, kernel_size=7, padding=3)
        self.occlusion = nn.Conv2d(channels * config.depth, 1, kernel_size=7, padding=3)

    def forward(self, feature: Tensor, kp_source: Tensor, kp_driving: Tensor) -> tuple[Tensor, Tensor]:
        batch, _, depth, height, width = feature.shape
        z, y, x = (torch.linspace(-1, 1, n, device=feature.device) for n in (depth, height, width))
        z, y, x = torch.meshgrid(z, y, x, indexing="ij")
        grid = torch.stack((x, y, z), dim=-1)  # (D, H, W, 3)

        moved = grid + (kp_source - kp_driving)[:, :, None, None, None, :]  # (B, 21, D, H, W, 3)
        still = grid.expand(batch, 1, -1, -1, -1, -1)
        places = torch.cat([still, moved], dim=1)  # (B, 22, D, H, W, 3)
        compressed = F.relu(self.norm(self.compress(feature)))
        copies = compressed[:, None].repeat(1, places.shape[1], 1, 1, 1, 1).flatten(0, 1)
        copies = F.grid_sample(copies, places.flatten(0, 1), align_corners=False)
        copies = copies.unflatten(0, (batch, -1))  # (B, 22, 4, D, H, W)

        def gaussians(keypoints: Tensor) -> Tensor:
            distance = (grid - keypoints[:, :, None, None, None, :]).square().sum(-1)
            return torch.exp(-0.5 * distance / HEAT_VARIANCE)

        heat = gaussians(kp_driving) - gaussians(kp_source)
        heat = torch.cat([torch.zeros_like(heat[:, :1]), heat], dim=1)[:, :, None]  # (B, 22, 1, D, H, W)
        joined = torch.cat([heat, copies], dim=2).flatten(1, 2)
        result = self.hourglass["decoder"](self.hourglass["encoder"](joined))
        mask = torch.softmax(self.mask(result), dim=1)[..., None]  # (B, 22, D, H, W, 1)
        occlusion = torch.sigmoid(self.occlusion(result.flatten(1, 2)))
        return (places * mask).sum(1), occlusion


class PlainWarping(nn.Module):
    """`WarpingModule` as face-vid2vid describes it."""

    def __init__(self, config: WarpingConfig) -> None:
        super().__init__()
        self.dense_motion_network = _DenseMotion(config)
        self.third = _Block(config.channels * config.depth, config.out_channels, 2, slope=0.01)
        self.fourth = nn.Conv2d(config.out_channels, config.out_channels, kernel_size=1)

    def forward(self, feature: Tensor, kp_source: Tensor, kp_driving: Tensor) -> dict[str, Tensor]:
        """As `WarpingModule.forward`; result `out` only."""
        deformation, occlusion = self.dense_motion_network(feature, kp_source, kp_driving)
        moved = F.grid_sample(feature, deformation, align_corners=False).flatten(1, 2)
        return {"out": self.fourth(self.third(moved)) * occlusion}


def _spectral(inputs: int, outputs: int, kernel_size: int, *, bias: bool = True) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2, bias=bias)
    return nn.utils.spectral_norm(convolution)


class _Spade(nn.Module):
    def __init__(self, channels: int, condition_channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.mlp_shared = nn.Sequential(nn.Conv2d(condition_channels, hidden_channels, 3, padding=1), nn.ReLU())
        self.mlp_gamma = nn.Conv2d(hidden_channels, channels, 3, padding=1)
        self.mlp_beta = nn.Conv2d(hidden_channels, channels, 3, padding=1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        hidden = self.mlp_shared(F.interpolate(condition, size=x.shape[2:], mode="nearest"))
        return F.instance_norm(x) * (1 + self.mlp_gamma(hidden)) + self.mlp_beta(hidden)


class _SpadeBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, config: SpadeGeneratorConfig) -> None:
        super().__init__()
        middle = min(inputs, outputs)
        self.conv_0, self.conv_1 = _spectral(inputs, middle, 3), _spectral(middle, outputs, 3)
        self.norm_0 = _Spade(inputs, config.channels, config.hidden_channels)
        self.norm_1 = _Spade(middle, config.channels, config.hidden_channels)
        self._learned_shortcut = inputs != outputs
        if self._learned_shortcut:
            self.conv_s = _spectral(inputs, outputs, 1, bias=False)
            self.norm_s = _Spade(inputs, config.channels, config.hidden_channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        y = self.conv_0(F.leaky_relu(self.norm_0(x, condition), SLOPE))
        y = self.conv_1(F.leaky_relu(self.norm_1(y, condition), SLOPE))
        return y + (self.conv_s(self.norm_s(x, condition)) if self._learned_shortcut else x)


class PlainGenerator(nn.Module):
    """`SpadeGenerator` as the SPADE paper describes its blocks."""

    def __init__(self, config: SpadeGeneratorConfig) -> None:
        super().__init__()
        self._config = config
        self.fc = nn.Conv2d(config.channels, config.middle_channels, 3, padding=1)
        for i in range(config.middle_blocks):
            self.add_module(f"G_middle_{i}", _SpadeBlock(config.middle_channels, config.middle_channels, config))
        widths = (config.middle_channels, *config.up_channels)
        for i, (inputs, outputs) in enumerate(pairwise(widths)):
            self.add_module(f"up_{i}", _SpadeBlock(inputs, outputs, config))
        self.conv_img = nn.Sequential(
            nn.Conv2d(widths[-1], 3 * config.upscale**2, 3, padding=1), nn.PixelShuffle(config.upscale)
        )

    def forward(self, feature: Tensor) -> Tensor:
        """As `SpadeGenerator.forward`."""
        x = self.fc(feature)
        for i in range(self._config.middle_blocks):
            x = self.get_submodule(f"G_middle_{i}")(x, feature)
        for i in range(len(self._config.up_channels)):
            x = self.get_submodule(f"up_{i}")(F.interpolate(x, scale_factor=2), feature)
        return torch.sigmoid(self.conv_img(F.leaky_relu(x, SLOPE)))
