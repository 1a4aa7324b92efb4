"""S: small networks that correct keypoints (LivePortrait's stitching and retargeting modules).

`joyvasa.motion.keypoints` says what goes in and what comes out.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from joyvasa.networks.config import NetworkConfig


@dataclass(frozen=True, kw_only=True)
class StitchingConfig(NetworkConfig):
    """Sizes of the network that joins a moved face to its shoulders."""

    keypoints: int = 21
    hidden: tuple[int, ...] = (128, 128, 64)

    @property
    def inputs(self) -> int:
        """Source keypoints, driving keypoints."""
        return 6 * self.keypoints

    @property
    def outputs(self) -> int:
        """A shift of each keypoint, and one in x and y for all."""
        return 3 * self.keypoints + 2


@dataclass(frozen=True, kw_only=True)
class LipConfig(NetworkConfig):
    """Sizes of the network that opens and closes the lips."""

    keypoints: int = 21
    hidden: tuple[int, ...] = (128, 128, 64)

    @property
    def inputs(self) -> int:
        """Source keypoints, lip ratios of source and target."""
        return 3 * self.keypoints + 2

    @property
    def outputs(self) -> int:
        """A shift of each keypoint."""
        return 3 * self.keypoints


@dataclass(frozen=True, kw_only=True)
class EyeConfig(NetworkConfig):
    """Sizes of the network that opens and closes the eyes."""

    keypoints: int = 21
    hidden: tuple[int, ...] = (256, 256, 128, 128, 64)

    @property
    def inputs(self) -> int:
        """Source keypoints, eye ratios of source left, source right and target."""
        return 3 * self.keypoints + 3

    @property
    def outputs(self) -> int:
        """A shift of each keypoint."""
        return 3 * self.keypoints


class RetargetingNetwork(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, config: StitchingConfig | LipConfig | EyeConfig) -> None:
        super().__init__()
        self.config = config
        widths = (config.inputs, *config.hidden)
        self.mlp = nn.Sequential()
        for inputs, outputs in zip(widths, config.hidden, strict=False):
            self.mlp.extend([nn.Linear(inputs, outputs), nn.ReLU(inplace=True)])
        self.mlp.append(nn.Linear(widths[-1], config.outputs))

    def forward(self, features: Tensor) -> Tensor:
        """Maps (batch, `config.inputs`) to (batch, `config.outputs`)."""
        return self.mlp(features)
