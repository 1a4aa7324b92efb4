"""AMT-S: interpolation of the frame between two frames (Li et al. 2023, "AMT: All-Pairs Multi-Field Transforms")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.networks.config import NetworkConfig
from joyvasa.networks.metrics.correlation import AllPairsCorrelation


@dataclass(frozen=True, kw_only=True)
class AmtConfig(NetworkConfig):
    """Sizes; the defaults are those of the small published model, AMT-S."""

    pyramid: tuple[int, ...] = (20, 32, 44, 56)  # channels at 1/2, 1/4, 1/8 and 1/16 of the image size
    correlation_channels: int = 84  # channels of the correlated features
    correlation_levels: int = 4
    correlation_radius: int = 3  # pixels of a level looked up on each side
    flows: int = 3  # pairs of flows merged in the last step
    side_channels: int = 20  # channels that two extra convolutions of a residual block refine


@dataclass(frozen=True)
class Interpolation:
    """Result of the network."""

    image: Tensor  # interpolated image in [0, 1], shape (batch, 3, height, width)
    # flows from the middle to the first and to the second image, in pixels of their level, from coarse (1/8) to fine
    # (1/1); each of shape (batch, 2, height, width), the finest (batch, pairs, 2, height, width)
    flows: Sequence[tuple[Tensor, Tensor]]


class Amt(nn.Module):
    """Coarse-to-fine interpolation of the middle image."""

    def __init__(self, config: AmtConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or AmtConfig()
        one, two, three, four = config.pyramid
        side = config.side_channels
        correlations = 2 * config.correlation_levels * (2 * config.correlation_radius + 1) ** 2

        self.feat_encoder = _CorrelationFeatures(config.correlation_channels)
        self.encoder = _Pyramid(config.pyramid)
        self.decoder4 = _Decoder(2 * four + 1, 2 * four, three + 4, side)
        self.decoder3 = _Decoder(3 * three + 4, 3 * three, two + 4, side)
        self.decoder2 = _Decoder(3 * two + 4, 3 * two, one + 4, side)
        self.decoder1 = _Decoder(3 * one + 4, 3 * one, 8 * config.flows, side)
        self.update4 = _Update(correlations, three, scale=1)
        self.update3 = _Update(correlations, two, scale=2)
        self.update2 = _Update(correlations, one, scale=4)
        self.comb_block = nn.Sequential(
            nn.Conv2d(3 * config.flows, 6 * config.flows, 3, padding=1),
            nn.PReLU(6 * config.flows),
            nn.Conv2d(6 * config.flows, 3, 3, padding=1),
        )

    def forward(self, first: Tensor, second: Tensor, scale_factor: float = 1.0) -> Interpolation:
        """Interpolate the image half-way between two images.

        Args:
            first: RGB image in [0, 1], shape (batch, 3, height, width). Both sides times `scale_factor` must be
                multiples of 16 and at least 128; otherwise the coarsest correlations are one pixel wide and the result
                is NaN.
            second: second image, like `first`.
            scale_factor: scale at which flows are estimated; images are warped at full size.
        """
        mean = torch.cat([first, second], dim=1).mean((1, 2, 3), keepdim=True)
        first, second = first - mean, second - mean

        small_first, small_second = (_resize(image, scale_factor) for image in (first, second))
        flows, mask, residual = self._estimate_flows(small_first, small_second)
        flow0, flow1 = (_resize_flow(flow, 1 / scale_factor) for flow in flows[-1])
        mask, residual = _resize(mask, 1 / scale_factor), _resize(residual, 1 / scale_factor)
        pairs = flow0.shape[1] // 2
        flow0, flow1 = flow0.unflatten(1, (pairs, 2)), flow1.unflatten(1, (pairs, 2))

        merged = self._merge_warp(first, second, flow0, flow1, mask, residual, mean)
        image = merged.unflatten(1, (pairs, 3)).mean(1) + self.comb_block(merged)
        return Interpolation(image.clamp(0, 1), [*flows[:-1], (flow0, flow1)])

    def _estimate_flows(self, first: Tensor, second: Tensor) -> tuple[list[tuple[Tensor, Tensor]], Tensor, Tensor]:
        """Return flows from coarse to fine, and mask and residual at the size of the last flows."""
        feature0, feature1 = self.feat_encoder(torch.cat([first, second])).chunk(2)  # (B, 84, H/8, W/8)
        levels, radius = self.config.correlation_levels, self.config.correlation_radius
        correlation = AllPairsCorrelation(feature0, feature1, levels=levels, radius=radius)
        pyramid = [level.chunk(2) for level in self.encoder(torch.cat([first, second]))]

        coarse0, coarse1 = pyramid[3]  # (B, 56, H/16, W/16)
        middle = torch.full_like(coarse0[:, :1], 0.5)
        flow, feature = self.decoder4(torch.cat([coarse0, coarse1, middle], dim=1)).tensor_split([4], dim=1)
        flow, feature = self.update4(correlation, flow, feature)  # at 1/8
        flows = [flow.split(2, dim=1)]
        for level, decoder, update in ((2, self.decoder3, self.update3), (1, self.decoder2, self.update2)):
            change, feature = decoder(_decoder_input(feature, pyramid[level], flow)).tensor_split([4], dim=1)
            flow = change + _resize_flow(flow, 2)
            flow, feature = update(correlation, flow, feature)  # at 1/4, then at 1/2
            flows.append(flow.split(2, dim=1))

        n = self.config.flows
        change0, change1, mask, residual = self.decoder1(_decoder_input(feature, pyramid[0], flow)).split(
            [2 * n, 2 * n, n, 3 * n], dim=1
        )
        flow0, flow1 = (_resize_flow(part, 2).repeat(1, n, 1, 1) for part in flow.split(2, dim=1))
        return [*flows, (change0 + flow0, change1 + flow1)], mask.sigmoid(), residual

    @staticmethod
    def _merge_warp(
        first: Tensor, second: Tensor, flow0: Tensor, flow1: Tensor, mask: Tensor, residual: Tensor, mean: Tensor
    ) -> Tensor:
        """Return one image per pair of flows, shape (batch, pairs * 3, height, width)."""
        batch, pairs = flow0.shape[:2]
        warped0, warped1 = (
            _warp(image.repeat_interleave(pairs, 0), flow.flatten(0, 1)).unflatten(0, (batch, pairs))
            for image, flow in ((first, flow0), (second, flow1))
        )
        weight = mask[:, :, None]
        merged = weight * warped0 + (1 - weight) * warped1 + mean[:, None]
        return merged.flatten(1, 2) + residual


class _Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with instance norm and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        narrow = outputs // 4
        self.conv1 = nn.Conv2d(inputs, narrow, 1)
        self.conv2 = nn.Conv2d(narrow, narrow, 3, stride, padding=1)
        self.conv3 = nn.Conv2d(narrow, outputs, 1)
        self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride)) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(F.instance_norm(self.conv1(x)))
        y = F.relu(F.instance_norm(self.conv2(y)))
        y = F.relu(F.instance_norm(self.conv3(y)))
        shortcut = x if self.downsample is None else F.instance_norm(self.downsample(x))
        return F.relu(shortcut + y)


class _CorrelationFeatures(nn.Module):
    """Encoder of the correlated features, at 1/8."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 7, stride=2, padding=3)
        self.layer1 = nn.Sequential(_Bottleneck(32, 32, 1), _Bottleneck(32, 32, 1))
        self.layer2 = nn.Sequential(_Bottleneck(32, 64, 2), _Bottleneck(64, 64, 1))
        self.layer3 = nn.Sequential(_Bottleneck(64, 96, 2), _Bottleneck(96, 96, 1))
        self.conv2 = nn.Conv2d(96, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.instance_norm(self.conv1(x)))
        return self.conv2(self.layer3(self.layer2(self.layer1(x))))


class _Pyramid(nn.Module):
    """Encoder of the decoded features; each level halves the size."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        for i, (inputs, outputs) in enumerate(zip((3, *channels[:-1]), channels, strict=True), start=1):
            self.add_module(f"pyramid{i}", nn.Sequential(_conv(inputs, outputs, stride=2), _conv(outputs, outputs)))

    def forward(self, x: Tensor) -> list[Tensor]:
        levels = []
        for level in self.children():
            x = level(x)
            levels.append(x)
        return levels


class _ResidualBlock(nn.Module):
    """Five convolutions; the second and fourth refine only the last `side` channels."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.conv1 = _conv(channels, channels)
        self.conv2 = _conv(side, side)
        self.conv3 = _conv(channels, channels)
        self.conv4 = _conv(side, side)
        self.conv5 = nn.Conv2d(channels, channels, 3, padding=1)
        self.prelu = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self._refine_side(self.conv1(x), self.conv2)
        y = self._refine_side(self.conv3(y), self.conv4)
        return self.prelu(x + self.conv5(y))

    def _refine_side(self, x: Tensor, convolution: nn.Module) -> Tensor:
        return torch.cat([x[:, : -self.side], convolution(x[:, -self.side :])], dim=1)


class _Decoder(nn.Module):
    """Decoder from features of one level to flows and features of the next finer level."""

    def __init__(self, inputs: int, channels: int, outputs: int, side: int) -> None:
        super().__init__()
        self.convblock = nn.Sequential(
            _conv(inputs, channels),
            _ResidualBlock(channels, side),
            nn.ConvTranspose2d(channels, outputs, 4, stride=2, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.convblock(x)


class _Update(nn.Module):
    """Correction of flows and features by the correlations at the ends of the flows; computed at 1/8.

    Args:
        correlations: correlations per pixel.
        channels: channels of the features.
        scale: size of flows and features relative to 1/8.
    """

    def __init__(self, correlations: int, channels: int, *, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.convc1 = nn.Conv2d(correlations, 64, 1)
        self.convf1 = nn.Conv2d(4, 40, 7, padding=3)
        self.convf2 = nn.Conv2d(40, 20, 3, padding=1)
        self.conv = nn.Conv2d(64 + 20, 68, 3, padding=1)
        self.gru = _two_convolutions(68 + 4 + channels, 76)
        self.feat_head = _two_convolutions(76, channels)
        self.flow_head = _two_convolutions(76, 4)

    def forward(self, correlation: AllPairsCorrelation, flow: Tensor, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Return corrected flows, shape (batch, 4, height, width), and features."""
        small_flow = _resize_flow(flow, 1 / self.scale)
        # A flow from the middle covers half the way between the two images.
        correlations = correlation(*(half_flow * 2 for half_flow in small_flow.split(2, dim=1)))

        c = _leaky(self.convc1(correlations))
        f = _leaky(self.convf2(_leaky(self.convf1(small_flow))))
        motion = _leaky(self.conv(torch.cat([c, f], dim=1)))
        state = self.gru(torch.cat([motion, small_flow, _resize(feature, 1 / self.scale)], dim=1))

        flow_change = _resize_flow(self.flow_head(state), self.scale)
        return flow + flow_change, feature + _resize(self.feat_head(state), self.scale)


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.PReLU(outputs))


def _two_convolutions(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, 76, 3, padding=1), nn.LeakyReLU(0.1), nn.Conv2d(76, outputs, 3, padding=1))


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1)


def _decoder_input(feature: Tensor, level: Sequence[Tensor], flow: Tensor) -> Tensor:
    """Concatenate features of the middle, features of both images warped to it, and the flows."""
    warped = [_warp(image_feature, half) for image_feature, half in zip(level, flow.split(2, dim=1), strict=True)]
    return torch.cat([feature, *warped, flow], dim=1)


def _resize(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1 else F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def _resize_flow(flow: Tensor, factor: float) -> Tensor:
    """Resize a flow and scale its values, which are in pixels."""
    return flow if factor == 1 else _resize(flow, factor) * factor


def _warp(x: Tensor, flow: Tensor) -> Tensor:
    """Sample `x` at the ends of a flow (pixels, x first), with border padding."""
    height, width = x.shape[-2:]
    grid_y, grid_x = torch.meshgrid(
        torch.linspace(-1, 1, height, device=x.device), torch.linspace(-1, 1, width, device=x.device), indexing="ij"
    )
    grid = torch.stack([grid_x + flow[:, 0] / ((width - 1) / 2), grid_y + flow[:, 1] / ((height - 1) / 2)], dim=-1)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=True)
