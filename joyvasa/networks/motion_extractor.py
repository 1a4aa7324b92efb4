"""M: extracts keypoints, head pose and expression from a portrait (LivePortrait's motion extractor).

The backbone is ConvNeXt V2 tiny (Woo et al. 2023, "ConvNeXt V2: Co-designing and Scaling ConvNets with Masked
Autoencoders").
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from joyvasa.errors import ConfigError
from joyvasa.networks.config import NetworkConfig, size_error
from joyvasa.networks.layers import full_precision

EPSILON = 1e-6  # of all normalizations in ConvNeXt


@dataclass(frozen=True, kw_only=True)
class MotionExtractorConfig(NetworkConfig):
    """Sizes; the defaults are those of the published weights.

    Raises:
        ConfigError: `bad_network_size`, also if `depths` and `widths` differ in length.
    """

    keypoints: int = 21
    depths: tuple[int, ...] = (3, 3, 9, 3)  # blocks of each stage
    widths: tuple[int, ...] = (96, 192, 384, 768)  # channels of each stage
    pose_bins: int = 66  # bins of 3 degrees; 1 if the heads return degrees
    image_channels: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.depths) != len(self.widths):
            raise ConfigError(
                "bad_network_size",
                f"MotionExtractorConfig: found {len(self.depths)} depths and {len(self.widths)} widths; "
                "expected one of each per stage: give lists of equal length",
            )

        if self.pose_bins not in (1, 66):
            raise size_error(self, "pose_bins", str(self.pose_bins), "66 (bins of 3 degrees) or 1 (degrees)")


class ChannelsFirstLayerNorm(nn.LayerNorm):
    """Layer norm over the channels of (batch, channels, height, width)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the shape of the input."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GlobalResponseNorm(nn.Module):
    """Global response normalization of (batch, height, width, channels), ConvNeXt V2 section 3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the shape of the input."""
        response = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True, dtype=torch.float32)  # (B, 1, 1, C)
        relative = response / (response.mean(dim=-1, keepdim=True) + EPSILON)
        return self.gamma * (x * relative) + self.beta + x


class ConvNextBlock(nn.Module):
    """Depthwise convolution, then an inverted bottleneck on the channels, with a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, kernel_size=7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=EPSILON)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.activation = nn.GELU()
        self.grn = GlobalResponseNorm(4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the shape of the input, (batch, channels, height, width)."""
        y = self.dwconv(x).permute(0, 2, 3, 1)  # (B, H, W, C)
        y = self.activation(self.pwconv1(self.norm(y)))  # (B, H, W, 4C)
        y = self.pwconv2(self.grn(y))  # (B, H, W, C)
        return x + y.permute(0, 3, 1, 2)


class ConvNextDetector(nn.Module):
    """ConvNeXt V2 with one linear head per component of the motion."""

    def __init__(self, config: MotionExtractorConfig) -> None:
        super().__init__()
        widths = config.widths

        stem = nn.Sequential(
            nn.Conv2d(config.image_channels, widths[0], kernel_size=4, stride=4),
            ChannelsFirstLayerNorm(widths[0], eps=EPSILON),
        )
        self.downsample_layers = nn.ModuleList([stem])
        for narrow, wide in pairwise(widths):
            self.downsample_layers.append(
                nn.Sequential(
                    ChannelsFirstLayerNorm(narrow, eps=EPSILON), nn.Conv2d(narrow, wide, kernel_size=2, stride=2)
                )
            )
        self.stages = nn.ModuleList(
            nn.Sequential(*(ConvNextBlock(width) for _ in range(depth)))
            for depth, width in zip(config.depths, widths, strict=True)
        )

        self.norm = nn.LayerNorm(widths[-1], eps=EPSILON)
        self.fc_kp = nn.Linear(widths[-1], 3 * config.keypoints)
        self.fc_scale = nn.Linear(widths[-1], 1)
        self.fc_pitch = nn.Linear(widths[-1], config.pose_bins)
        self.fc_yaw = nn.Linear(widths[-1], config.pose_bins)
        self.fc_roll = nn.Linear(widths[-1], config.pose_bins)
        self.fc_t = nn.Linear(widths[-1], 3)
        self.fc_exp = nn.Linear(widths[-1], 3 * config.keypoints)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Compute the raw heads, see `MotionExtractor.forward`."""
        x = image
        for downsample, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(downsample(x))  # (B, 96, 64, 64), (B, 192, 32, 32), (B, 384, 16, 16), (B, 768, 8, 8)

        with full_precision(x):
            x = self.norm(x.float().mean(dim=(2, 3)))  # (B, 768)
            return {
                "pitch": self.fc_pitch(x),
                "yaw": self.fc_yaw(x),
                "roll": self.fc_roll(x),
                "t": self.fc_t(x),
                "exp": self.fc_exp(x),
                "scale": self.fc_scale(x),
                "kp": self.fc_kp(x),
            }


class MotionExtractor(nn.Module):
    """Extractor of keypoints, head pose and expression."""

    def __init__(self, config: MotionExtractorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MotionExtractorConfig()
        self.detector = ConvNextDetector(config)
        self.n_keypoints = config.keypoints

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Compute the raw heads, which `joyvasa.motion.keypoints.KeypointInfo.from_heads` interprets.

        Args:
            image: RGB image in [0, 1], shape (batch, 3, 256, 256).

        Returns:
            Tensors, float32: `pitch`, `yaw`, `roll` (batch, 66), logits of bins of 3 degrees; `t` (batch, 3);
            `exp` and `kp` (batch, 63), keypoint by keypoint; `scale` (batch, 1).
        """
        return self.detector(image)
