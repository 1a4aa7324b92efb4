"""S: small networks that correct keypoints (LivePortrait's stitching and retargeting modules).

`joyvasa.motion.keypoints` builds their inputs and applies their outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from joyvasa.networks.config import NetworkConfig


@dataclass(frozen=True, kw_only=True)
class RetargetingConfig(NetworkConfig):
    """Sizes of a network that maps keypoints and a few ratios to a shift per keypoint."""

    keypoints: int = 21
    hidden: tuple[int, ...] = (128, 128, 64)
    ratios = 0  # of the eyes or the lips

    @property
    def inputs(self) -> int:
        """Return the input width: source keypoints and ratios."""
        return 3 * self.keypoints + self.ratios

    @property
    def outputs(self) -> int:
        """Return the output width: a shift per keypoint."""
        return 3 * self.keypoints


class StitchingConfig(RetargetingConfig):
    """Sizes of the stitching network, which aligns a moved face with the shoulders."""

    @property
    def inputs(self) -> int:
        """Return the input width: source keypoints and driving keypoints."""
        return 6 * self.keypoints

    @property
    def outputs(self) -> int:
        """Return the output width: a shift per keypoint and a shift in x and y of all keypoints."""
        return 3 * self.keypoints + 2


class LipConfig(RetargetingConfig):
    """Sizes of the lip retargeting network, which opens and closes the lips."""

    ratios = 2  # source and target


@dataclass(frozen=True, kw_only=True)
class EyeConfig(RetargetingConfig):
    """Sizes of the eye retargeting network, which opens and closes the eyes."""

    hidden: tuple[int, ...] = (256, 256, 128, 128, 64)
    ratios = 3  # source left, source right and target


class RetargetingNetwork(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, config: RetargetingConfig) -> None:
        super().__init__()
        self.config = config
        widths = (config.inputs, *config.hidden)
        self.mlp = nn.Sequential()
        for inputs, outputs in zip(widths, config.hidden, strict=False):
            self.mlp.extend([nn.Linear(inputs, outputs), nn.ReLU(inplace=True)])
        self.mlp.append(nn.Linear(widths[-1], config.outputs))

    def forward(self, features: Tensor) -> Tensor:
        """Map (batch, `config.inputs`) to (batch, `config.outputs`)."""
        return self.mlp(features)
