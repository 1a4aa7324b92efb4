"""Face mesh of 468 points in three dimensions (Kartynnik et al. 2019, arXiv:1907.06724)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from joyvasa.networks.config import NetworkConfig
from joyvasa.networks.faces.blocks import BlazeBlock, SameConv2d, chain

MESH_POINTS = 468
INPUT_SIDE = 192  # pixels

# Output channels and stride of each block.
_TRUNK = (
    *((16, 1), (16, 1), (32, 2), (32, 1), (32, 1), (64, 2), (64, 1), (64, 1)),
    *((128, 2), (128, 1), (128, 1), (128, 2), (128, 1), (128, 1)),
)
_NARROW = 32  # channels of the last block of each head


@dataclass(frozen=True, kw_only=True)
class FaceMeshConfig(NetworkConfig):
    """The network has no options."""


class FaceMesh(nn.Module):
    """Regression of the mesh of one face, and of the presence of a face."""

    def __init__(self, config: FaceMeshConfig | None = None) -> None:
        super().__init__()
        self.stem = nn.Sequential(SameConv2d(3, 16, 3, stride=2), nn.PReLU(16))
        self.trunk = nn.Sequential(*chain(16, _TRUNK, prelu=True))
        self.points = _head(2, 3 * MESH_POINTS)
        self.score = _head(0, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Find the points of faces.

        Args:
            images: upright faces that fill two thirds of the picture, RGB in [0, 1], shape (batch, 3, 192, 192).

        Returns:
            Points, x and y in pixels of the input and z in the same unit, away from the camera, shape (batch, 468, 3);
            and logits of the presence of a face, shape (batch,).
        """
        features = self.trunk(self.stem(images))
        points = self.points(features).flatten(1)
        return points.unflatten(1, (MESH_POINTS, 3)), self.score(features).flatten()


def _head(extra_blocks: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        *chain(128, ((128, 2), *((128, 1),) * extra_blocks), prelu=True),
        nn.Conv2d(128, _NARROW, 1),
        nn.PReLU(_NARROW),
        BlazeBlock(_NARROW, _NARROW, prelu=True),
        nn.Conv2d(_NARROW, outputs, 3),
    )
