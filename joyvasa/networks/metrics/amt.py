"""AMT-S: the picture between two pictures (Li et al., "AMT: All-Pairs Multi-Field Transforms", CVPR 2023)."""

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

    pyramid: tuple[int, ...] = (20, 32, 44, 56)  # channels at 1/2, 1/4, 1/8 and 1/16 of the picture
    correlation_channels: int = 84  # of the features that are correlated
    correlation_levels: int = 4
    correlation_radius: int = 3  # pixels of a level that are looked up on each side
    flows: int = 3  # pairs of flows that are merged in the end
    side_channels: int = 20  # of a residual block, which two extra convolutions refine


@dataclass(frozen=True)
class Interpolation:
    """What the network finds.

    Args:
        image: in [0, 1], shape (batch, 3, height, width).
        flows: from the middle to the first and to the second picture in pixels of their own size, from the coarsest
            (1/8) to the finest (1/1, with a dimension for the pairs of flows after that of the batch).
    """

    image: Tensor
    flows: Sequence[tuple[Tensor, Tensor]]


class Amt(nn.Module):
    """Interpolates in the middle, from coarse to fine."""

    def __init__(self, config: AmtConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or AmtConfig()
        one, two, three, four = config.pyramid
        side, looked_up = config.side_channels, 2 * config.correlation_levels * (2 * config.correlation_radius + 1) ** 2
        self.feat_encoder = _CorrelationFeatures(config.correlation_channels)
        self.encoder = _Pyramid(config.pyramid)
        self.decoder4 = _Decoder(2 * four + 1, 2 * four, three + 4, side)
        self.decoder3 = _Decoder(3 * three + 4, 3 * three, two + 4, side)
        self.decoder2 = _Decoder(3 * two + 4, 3 * two, one + 4, side)
        self.decoder1 = _Decoder(3 * one + 4, 3 * one, 8 * config.flows, side)
        self.update4 = _Update(looked_up, three, scale=1)
        self.update3 = _Update(looked_up, two, scale=2)
        self.update2 = _Update(looked_up, one, scale=4)
        self.comb_block = nn.Sequential(
            nn.Conv2d(3 * config.flows, 6 * config.flows, 3, padding=1),
            nn.PReLU(6 * config.flows),
            nn.Conv2d(6 * config.flows, 3, 3, padding=1),
        )

    def forward(self, first: Tensor, second: Tensor, scale_factor: float = 1.0) -> Interpolation:
        """Finds the picture half-way in time.

        Args:
            first: RGB in [0, 1], shape (batch, 3, height, width); both sides times `scale_factor` multiples of 16 and
                at least 128, or the coarsest correlations are one pixel wide and nothing is a number.
            second: the same.
            scale_factor: at which flows are estimated; the pictures are warped as they are.
        """
        mean = torch.cat([first, second], dim=1).mean((1, 2, 3), keepdim=True)
        first, second = first - mean, second - mean
        small_first, small_second = (_resized(image, scale_factor) for image in (first, second))
        flows, mask, residual = self._estimate(small_first, small_second)
        flow0, flow1 = (_resized_flow(flow, 1 / scale_factor) for flow in flows[-1])
        mask, residual = _resized(mask, 1 / scale_factor), _resized(residual, 1 / scale_factor)
        pairs = flow0.shape[1] // 2
        flow0, flow1 = flow0.unflatten(1, (pairs, 2)), flow1.unflatten(1, (pairs, 2))
        merged = self._merged(first, second, flow0, flow1, mask, residual, mean)
        image = merged.unflatten(1, (pairs, 3)).mean(1) + self.comb_block(merged)
        return Interpolation(image.clamp(0, 1), [*flows[:-1], (flow0, flow1)])

    def _estimate(self, first: Tensor, second: Tensor) -> tuple[list[tuple[Tensor, Tensor]], Tensor, Tensor]:
        """Flows from coarse to fine, then the mask and the residual, which are as fine as the last flows."""
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
            change, feature = decoder(_joined(feature, pyramid[level], flow)).tensor_split([4], dim=1)
            flow = change + _resized_flow(flow, 2)
            flow, feature = update(correlation, flow, feature)  # at 1/4, then at 1/2
            flows.append(flow.split(2, dim=1))

        n = self.config.flows
        change0, change1, mask, residual = self.decoder1(_joined(feature, pyramid[0], flow)).split(
            [2 * n, 2 * n, n, 3 * n], dim=1
        )
        flow0, flow1 = (_resized_flow(part, 2).repeat(1, n, 1, 1) for part in flow.split(2, dim=1))
        return [*flows, (change0 + flow0, change1 + flow1)], mask.sigmoid(), residual

    @staticmethod
    def _merged(
        first: Tensor, second: Tensor, flow0: Tensor, flow1: Tensor, mask: Tensor, residual: Tensor, mean: Tensor
    ) -> Tensor:
        """A picture for each pair of flows, shape (batch, pairs * 3, height, width)."""
        batch, pairs = flow0.shape[:2]
        warped0, warped1 = (
            _warped(image.repeat_interleave(pairs, 0), flow.flatten(0, 1)).unflatten(0, (batch, pairs))
            for image, flow in ((first, flow0), (second, flow1))
        )
        weight = mask[:, :, None]
        merged = weight * warped0 + (1 - weight) * warped1 + mean[:, None]
        return merged.flatten(1, 2) + residual


class _Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution, each instance-normalised, added to the input."""

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
    """Features that are correlated, at 1/8."""

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
    """Features that are decoded, each level half the size of the one before."""

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
    """Five convolutions; the second and the fourth refine the last channels alone."""

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
        y = self._refined(self.conv1(x), self.conv2)
        y = self._refined(self.conv3(y), self.conv4)
        return self.prelu(x + self.conv5(y))

    def _refined(self, x: Tensor, convolution: nn.Module) -> Tensor:
        return torch.cat([x[:, : -self.side], convolution(x[:, -self.side :])], dim=1)


class _Decoder(nn.Module):
    """Features of one level to flows and features of the next finer one."""

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
    """Corrects flows and features by what the correlations say at the flows' ends; works at 1/8.

    Args:
        looked_up: correlations a pixel.
        channels: of the features.
        scale: how many times finer than 1/8 flows and features are.
    """

    def __init__(self, looked_up: int, channels: int, *, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.convc1 = nn.Conv2d(looked_up, 64, 1)
        self.convf1 = nn.Conv2d(4, 40, 7, padding=3)
        self.convf2 = nn.Conv2d(40, 20, 3, padding=1)
        self.conv = nn.Conv2d(64 + 20, 68, 3, padding=1)
        self.gru = _two_convolutions(68 + 4 + channels, 76)
        self.feat_head = _two_convolutions(76, channels)
        self.flow_head = _two_convolutions(76, 4)

    def forward(self, correlation: AllPairsCorrelation, flow: Tensor, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Returns flow, shape (batch, 4, height, width), and features, corrected."""
        small_flow = _resized_flow(flow, 1 / self.scale)
        # From the middle to one end is half the way from the other end to it.
        looked_up = correlation(*(part * 2 for part in small_flow.split(2, dim=1)))
        c = _leaky(self.convc1(looked_up))
        f = _leaky(self.convf2(_leaky(self.convf1(small_flow))))
        motion = _leaky(self.conv(torch.cat([c, f], dim=1)))
        state = self.gru(torch.cat([motion, small_flow, _resized(feature, 1 / self.scale)], dim=1))
        flow_change = _resized_flow(self.flow_head(state), self.scale)
        return flow + flow_change, feature + _resized(self.feat_head(state), self.scale)


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.PReLU(outputs))


def _two_convolutions(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, 76, 3, padding=1), nn.LeakyReLU(0.1), nn.Conv2d(76, outputs, 3, padding=1))


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1)


def _joined(feature: Tensor, level: Sequence[Tensor], flow: Tensor) -> Tensor:
    """Features of the middle, features of both pictures warped there, and the flows."""
    ends = [_warped(end, part) for end, part in zip(level, flow.split(2, dim=1), strict=True)]
    return torch.cat([feature, *ends, flow], dim=1)


def _resized(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1 else F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def _resized_flow(flow: Tensor, factor: float) -> Tensor:
    """A flow is in pixels: it grows with the picture."""
    return flow if factor == 1 else _resized(flow, factor) * factor


def _warped(x: Tensor, flow: Tensor) -> Tensor:
    """Reads `x` where the flow (pixels, x first) points to; beyond the border it is as at the border."""
    height, width = x.shape[-2:]
    grid_y, grid_x = torch.meshgrid(
        torch.linspace(-1, 1, height, device=x.device), torch.linspace(-1, 1, width, device=x.device), indexing="ij"
    )
    grid = torch.stack([grid_x + flow[:, 0] / ((width - 1) / 2), grid_y + flow[:, 1] / ((height - 1) / 2)], dim=-1)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=True)
