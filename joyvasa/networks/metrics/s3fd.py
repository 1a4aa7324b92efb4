"""S3FD: face detection at six scales (Zhang et al. 2017, "Single Shot Scale-invariant Face Detector").

The backbone is VGG-16 with its fully connected layers turned into convolutions. Weights have the names of
`sfd_face.pth`, which the SyncNet protocol uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.networks.config import NetworkConfig, size_error

STRIDES = (4, 8, 16, 32, 64, 128)  # pixels between the cells of each level
ANCHOR_SIDES = (16, 32, 64, 128, 256, 512)  # pixels; side of the square prior box of each level
STAGES = (2, 2, 3, 3, 3)  # convolutions before each pooling
NORM_EPSILON = 1e-10


@dataclass(frozen=True, kw_only=True)
class S3fdConfig(NetworkConfig):
    """Sizes; the defaults are those of the published weights.

    Raises:
        ConfigError: `bad_network_size`, also if `widths` or `extra_widths` has the wrong length.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512, 512)  # channels of each stage
    dense_width: int = 1024  # channels of VGG's former fully connected layers
    extra_widths: tuple[int, ...] = (256, 512, 128, 256)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, expected in (("widths", len(STAGES)), ("extra_widths", 4)):
            if (length := len(getattr(self, name))) != expected:
                raise size_error(self, name, f"{length} numbers", str(expected))


class L2Norm(nn.Module):
    """L2 normalization over the channels, with a learned scale per channel."""

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """Return the shape of the input, (batch, channels, height, width)."""
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True) + NORM_EPSILON
        return x / length * self.weight[:, None, None]


class S3fd(nn.Module):
    """Detector with one location and score per prior box of six levels."""

    def __init__(self, config: S3fdConfig | None = None) -> None:
        super().__init__()
        config = config or S3fdConfig()
        self.vgg = _vgg(config)
        self.L2Norm3_3 = L2Norm(config.widths[2], 10.0)
        self.L2Norm4_3 = L2Norm(config.widths[3], 8.0)
        self.L2Norm5_3 = L2Norm(config.widths[4], 5.0)

        narrow, wide, narrower, last = config.extra_widths
        self.extras = nn.ModuleList(
            [
                nn.Conv2d(config.dense_width, narrow, 1),
                nn.Conv2d(narrow, wide, 3, stride=2, padding=1),
                nn.Conv2d(wide, narrower, 1),
                nn.Conv2d(narrower, last, 3, stride=2, padding=1),
            ]
        )

        channels = (*config.widths[2:], config.dense_width, wide, last)
        self.loc = nn.ModuleList(nn.Conv2d(width, 4, 3, padding=1) for width in channels)
        # The finest level has three background scores, of which the highest is used.
        self.conf = nn.ModuleList(
            nn.Conv2d(width, 4 if level == 0 else 2, 3, padding=1) for level, width in enumerate(channels)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Score faces at all prior boxes.

        Args:
            images: RGB images minus (123, 117, 104), any size, shape (batch, 3, height, width).

        Returns:
            Offsets from the prior boxes, shape (batch, priors, 4); probabilities of background and face, shape
            (batch, priors, 2); and prior boxes, shape (priors, 4), see `prior_boxes`.
        """
        levels = self._levels(images)
        locations = [_rows(head(x), 4) for head, x in zip(self.loc, levels, strict=True)]

        finest, *others = (head(x) for head, x in zip(self.conf, levels, strict=True))
        finest = torch.cat([finest[:, :3].amax(dim=1, keepdim=True), finest[:, 3:]], dim=1)
        scores = [_rows(x, 2) for x in (finest, *others)]

        cells = [(x.shape[2], x.shape[3]) for x in levels]
        priors = prior_boxes(cells, images.shape[2], images.shape[3]).to(images)
        return torch.cat(locations, dim=1), torch.cat(scores, dim=1).softmax(dim=-1), priors

    def _levels(self, x: Tensor) -> list[Tensor]:
        """Return the features of the six levels, finest first."""
        taps = {15: self.L2Norm3_3, 22: self.L2Norm4_3, 29: self.L2Norm5_3}
        levels = []
        for index, layer in enumerate(self.vgg):
            x = layer(x)
            if index in taps:
                levels.append(taps[index](x))  # 1/4, 1/8, 1/16
        levels.append(x)  # 1/32

        for index, layer in enumerate(self.extras):
            x = F.relu(layer(x))
            if index % 2:
                levels.append(x)  # 1/64, 1/128
        return levels


def prior_boxes(cells: list[tuple[int, int]], height: int, width: int) -> Tensor:
    """Return one box per cell of each level, finest first and row by row.

    Args:
        cells: rows and columns of each level.
        height: height of the network input in pixels.
        width: width of the network input in pixels.

    Returns:
        Boxes (center x, center y, width, height) as fractions of the input size, shape (priors, 4), float32.
    """
    boxes = []
    for (rows, columns), stride, side in zip(cells, STRIDES, ANCHOR_SIDES, strict=True):
        y = (torch.arange(rows, dtype=torch.float32) + 0.5) * stride / height
        x = (torch.arange(columns, dtype=torch.float32) + 0.5) * stride / width
        grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
        sizes = torch.tensor([side / width, side / height]).expand(rows * columns, 2)
        boxes.append(torch.cat([grid_x.reshape(-1, 1), grid_y.reshape(-1, 1), sizes], dim=1))
    return torch.cat(boxes)


def _vgg(config: S3fdConfig) -> nn.ModuleList:
    layers: list[nn.Module] = []
    channels = 3
    for stage, (convolutions, width) in enumerate(zip(STAGES, config.widths, strict=True)):
        for inputs, outputs in pairwise([channels, *[width] * convolutions]):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
        # The third pooling rounds up.
        layers.append(nn.MaxPool2d(2, stride=2, ceil_mode=stage == 2))
        channels = width

    # VGG's first fully connected layer, as a dilated convolution.
    layers += [nn.Conv2d(channels, config.dense_width, 3, padding=6, dilation=6), nn.ReLU(inplace=True)]
    layers += [nn.Conv2d(config.dense_width, config.dense_width, 1), nn.ReLU(inplace=True)]
    return nn.ModuleList(layers)


def _rows(x: Tensor, values: int) -> Tensor:
    """Map (batch, values, rows, columns) to (batch, rows * columns, values)."""
    return x.permute(0, 2, 3, 1).reshape(len(x), -1, values)
