"""W: warps a feature volume from source to driving keypoints (LivePortrait's warping module).

The dense motion network follows face-vid2vid (Wang et al. 2021, "One-Shot Free-View Neural Talking-Head Synthesis for
Video Conferencing"), without Jacobians.

Coordinates are (x, y, z): x points right, y down, z inward. They range from -1 at the center of the first cell to 1 at
the center of the last, whereas sampling places -1 and 1 at the outer borders of these cells (`align_corners=False`).
The weights were trained with this mismatch.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.networks.config import NetworkConfig
from joyvasa.networks.layers import ConvBlock, DownBlock, full_precision

HEATMAP_VARIANCE = 0.01  # of the Gaussian around a keypoint, as in face-vid2vid


@dataclass(frozen=True, kw_only=True)
class WarpingConfig(NetworkConfig):
    """Sizes; the defaults are those of the published weights."""

    keypoints: int = 21
    channels: int = 32  # of the feature volume
    depth: int = 16  # of the feature volume; never pooled
    out_channels: int = 256  # of the result
    compressed_channels: int = 4  # of the volume that the dense motion network samples
    hourglass_channels: int = 32  # doubled by each hourglass block
    hourglass_max_channels: int = 1024
    hourglass_blocks: int = 5  # each halves height and width, which must be multiples of 2**hourglass_blocks

    @property
    def hourglass_inputs(self) -> int:
        """Return the channels of the hourglass input: heatmap and compressed feature per keypoint and background."""
        return (self.keypoints + 1) * (self.compressed_channels + 1)

    def width(self, level: int) -> int:
        """Return the channels of the hourglass after `level` blocks."""
        return min(self.hourglass_max_channels, self.hourglass_channels * 2**level)


def identity_grid(depth: int, height: int, width: int, device: torch.device) -> Tensor:
    """Return the coordinates (x, y, z) of each cell, shape (depth, height, width, 3), float32."""
    z, y, x = (torch.linspace(-1, 1, size, device=device) for size in (depth, height, width))
    z, y, x = torch.meshgrid(z, y, x, indexing="ij")
    return torch.stack((x, y, z), dim=-1)


def keypoint_shifts(kp_source: Tensor, kp_driving: Tensor) -> Tensor:
    """Return the shift from driving to source position of each keypoint, shape (batch, keypoints + 1, 3).

    The first, for the background, is zero.
    """
    return F.pad(kp_source - kp_driving, (0, 0, 1, 0))


def heatmap_differences(kp_source: Tensor, kp_driving: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Return Gaussians around the driving keypoints minus Gaussians around the source keypoints.

    Args:
        kp_source: source keypoints, shape (batch or 1, keypoints, 3).
        kp_driving: driving keypoints, shape (batch, keypoints, 3).
        size: depth, height and width of the maps.

    Returns:
        Maps, shape (batch, keypoints + 1, depth, height, width); the first, for the background, is zero.
    """

    def gaussians(keypoints: Tensor) -> Tensor:
        # A Gaussian in space is the product of Gaussians along the axes.
        z, y, x = (
            torch.exp((torch.linspace(-1, 1, n, device=keypoints.device) - center).square() * (-0.5 / HEATMAP_VARIANCE))
            for n, center in zip(size, keypoints.flip(-1).split(1, dim=-1), strict=True)
        )  # each (B, K, n)
        return z[..., :, None, None] * (y[..., None, :, None] * x[..., None, None, :])

    return F.pad(gaussians(kp_driving) - gaussians(kp_source), (0, 0, 0, 0, 0, 0, 1, 0))


def sample_shifted(feature: Tensor, grid: Tensor, shifts: Tensor) -> Tensor:
    """Sample a feature volume once per shift.

    Args:
        feature: feature volume, shape (batch or 1, channels, depth, height, width).
        grid: result of `identity_grid`.
        shifts: shifts in x, y and z, shape (batch, shifts, 3).

    Returns:
        Shifted volumes, shape (batch, channels, shifts, depth, height, width).
    """
    batch, n_shifts, _ = shifts.shape
    grids = grid + shifts[:, :, None, None, None, :]  # (B, 22, D, H, W, 3)
    # Stacking all shifts along the depth needs one call and no copies of the feature.
    sampled = F.grid_sample(feature.expand(batch, -1, -1, -1, -1), grids.flatten(1, 2), align_corners=False)
    return sampled.unflatten(2, (n_shifts, -1))


class UpBlock(ConvBlock):
    """Nearest-neighbor upsampling of height and width by 2, then a `ConvBlock`."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., depth, height, width) to (..., depth, 2 height, 2 width)."""
        return super().forward(F.interpolate(x, scale_factor=(1, 2, 2)))


class HourglassEncoder(nn.Module):
    """Encoder that halves height and width in each block."""

    def __init__(self, config: WarpingConfig) -> None:
        super().__init__()
        widths = [config.hourglass_inputs, *(config.width(i + 1) for i in range(config.hourglass_blocks))]
        self.down_blocks = nn.ModuleList(
            DownBlock(inputs, outputs, dimensions=3) for inputs, outputs in pairwise(widths)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the input and the result of each block."""
        results = [x]
        for block in self.down_blocks:
            results.append(block(results[-1]))
        return results


class HourglassDecoder(nn.Module):
    """Decoder that doubles height and width in each block and appends the encoder's result of the same size."""

    def __init__(self, config: WarpingConfig) -> None:
        super().__init__()
        self.up_blocks = nn.ModuleList()
        for i in reversed(range(config.hourglass_blocks)):
            n_inputs = 1 if i == config.hourglass_blocks - 1 else 2
            self.up_blocks.append(UpBlock(n_inputs * config.width(i + 1), config.width(i), dimensions=3))
        channels = config.width(0) + config.hourglass_inputs
        self.conv = nn.Conv3d(channels, channels, kernel_size=3, padding=1)
        self.norm = nn.BatchNorm3d(channels)

    def forward(self, encoded: list[Tensor]) -> Tensor:
        """Decode the results of the encoder; empties the list."""
        x = encoded.pop()
        for block in self.up_blocks:
            x = torch.cat([block(x), encoded.pop()], dim=1)
        return F.relu(self.norm(self.conv(x)), inplace=True)


class Hourglass(nn.Module):
    """Encoder and decoder with skip connections, over height and width."""

    def __init__(self, config: WarpingConfig) -> None:
        super().__init__()
        self.encoder = HourglassEncoder(config)
        self.decoder = HourglassDecoder(config)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 110, depth, height, width) to (batch, 142, depth, height, width)."""
        return self.decoder(self.encoder(x))


class DenseMotionNetwork(nn.Module):
    """Estimator of a dense deformation from sparse keypoints."""

    def __init__(self, config: WarpingConfig) -> None:
        super().__init__()
        channels = config.hourglass_inputs + config.width(0)
        self.compress = nn.Conv3d(config.channels, config.compressed_channels, kernel_size=1)
        self.norm = nn.BatchNorm3d(config.compressed_channels)
        self.hourglass = Hourglass(config)
        self.mask = nn.Conv3d(channels, config.keypoints + 1, kernel_size=7, padding=3)
        self.occlusion = nn.Conv2d(channels * config.depth, 1, kernel_size=7, padding=3)

    def forward(self, feature: Tensor, kp_source: Tensor, kp_driving: Tensor) -> tuple[Tensor, Tensor]:
        """Compute deformation and occlusion map, see `WarpingModule.forward`."""
        depth, height, width = feature.shape[2:]
        compressed = F.relu(self.norm(self.compress(feature)))  # (B or 1, 4, 16, 64, 64)

        with full_precision(feature):
            grid = identity_grid(depth, height, width, feature.device)  # (16, 64, 64, 3)
            shifts = keypoint_shifts(kp_source.float(), kp_driving.float())  # (B, 22, 3)
            shifted = sample_shifted(compressed.float(), grid, shifts)  # (B, 4, 22, 16, 64, 64)
            size = (depth, height, width)
            heatmaps = heatmap_differences(kp_source.float(), kp_driving.float(), size)  # (B, 22, 16, 64, 64)

        x = torch.cat([heatmaps[:, None], shifted], dim=1).to(compressed.dtype)  # (B, 5, 22, 16, 64, 64)
        x = x.transpose(1, 2).flatten(1, 2)  # (B, 110, 16, 64, 64)
        x = self.hourglass(x)  # (B, 142, 16, 64, 64)
        occlusion = torch.sigmoid(self.occlusion(x.flatten(1, 2)).float())  # (B, 1, 64, 64)
        mask = torch.softmax(self.mask(x).float(), dim=1)  # (B, 22, 16, 64, 64)

        with full_precision(feature):
            # The mask sums to 1, so the mean of the shifted grids is the grid plus the mean shift.
            deformation = grid + torch.einsum("bkdhw,bkc->bdhwc", mask, shifts)  # (B, 16, 64, 64, 3)
        return deformation, occlusion


class WarpingModule(nn.Module):
    """Warping of a portrait's feature volume, flattened for the generator."""

    def __init__(self, config: WarpingConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or WarpingConfig()
        self.dense_motion_network = DenseMotionNetwork(config)
        self.third = ConvBlock(config.channels * config.depth, config.out_channels, dimensions=2, slope=0.01)
        self.fourth = nn.Conv2d(config.out_channels, config.out_channels, kernel_size=1)

    def forward(self, feature: Tensor, kp_source: Tensor, kp_driving: Tensor) -> dict[str, Tensor]:
        """Warp the feature volume.

        Args:
            feature: feature volume, shape (batch, 32, 16, 64, 64), or (1, ...) for one portrait in many poses.
            kp_source: source keypoints, shape (batch or 1, 21, 3).
            kp_driving: driving keypoints, shape (batch, 21, 3).

        Returns:
            Tensors: `out`, the warped feature map, shape (batch, 256, 64, 64); `deformation`, the source coordinates
            (x, y, z) of each cell, shape (batch, 16, 64, 64, 3); `occlusion_map` in (0, 1), 0 where the source has no
            content, shape (batch, 1, 64, 64).
        """
        deformation, occlusion = self.dense_motion_network(feature, kp_source, kp_driving)

        with full_precision(feature):
            source = feature.float().expand(len(deformation), -1, -1, -1, -1)
            x = F.grid_sample(source, deformation, align_corners=False)  # (B, 32, 16, 64, 64)

        x = x.flatten(1, 2)  # (B, 512, 64, 64)
        x = self.fourth(self.third(x))  # (B, 256, 64, 64)
        return {"out": x * occlusion, "deformation": deformation, "occlusion_map": occlusion}
