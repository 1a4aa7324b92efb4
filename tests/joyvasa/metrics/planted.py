"""Networks with known outputs, as replacements of the published ones."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from joyvasa.metrics.base import MetricModels
from joyvasa.metrics.support.sound_windows import FRAME_COLUMNS
from joyvasa.networks import build
from joyvasa.networks.metrics.syncnet import WINDOW_FRAMES

SMALL_SYNCNET = {
    "lip_channels": [4, 4, 4, 4, 4, 8],
    "sound_channels": [4, 4, 4, 4, 4, 8],
    "hidden": 16,
    "embedding": 32,
}
SMALL_S3FD = {"widths": [4, 4, 4, 4, 4], "dense_width": 8, "extra_widths": [4, 8, 4, 8]}


@dataclass
class PlantedBundle:
    """Bundle of given networks."""

    networks: dict[str, nn.Module] = field(default_factory=dict)

    def load_network(self, role: str, device: torch.device | str = "cpu") -> nn.Module:
        return self.networks[role].to(device).eval()


def planted_models(**networks: nn.Module) -> MetricModels:
    return MetricModels(bundle=PlantedBundle(networks), device=torch.device("cpu"))


def build_seeded(name: str, **config: object) -> nn.Module:
    """Build a network with seeded random weights, including running means of batch norms."""
    network = build(name, **config)
    generator = torch.Generator().manual_seed(5)
    state = {
        key: torch.rand(value.shape, generator=generator) - (0 if key.endswith("running_var") else 0.5)
        for key, value in network.state_dict().items()
        if value.is_floating_point()
    }
    network.load_state_dict({**network.state_dict(), **state})
    return network


class CentralFace(nn.Module):
    """Detector of one central face whose position and size depend on the brightness of the picture.

    Args:
        side: side of the face relative to the picture.
        score: score of the face.
    """

    def __init__(self, side: float = 0.6, score: float = 0.99) -> None:
        super().__init__()
        self.side, self.score, self.batches = side, score, []

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.batches.append(tuple(images.shape))
        shift = images.mean(dim=(1, 2, 3)) / 255
        locations = torch.stack([shift, -shift, shift, shift], dim=1)[:, None]
        scores = torch.tensor([1 - self.score, self.score]).expand(len(images), 1, 2)
        return locations, scores, torch.tensor([[0.5, 0.5, self.side, self.side]])


class LoudMouth(nn.Module):
    """SyncNet for which sound matches a face if its level doubles with every `STEP` gray levels of the face.

    Both embeddings are the five values of the window.
    """

    STEP = 40.0 * 0.6931
    BRIGHTEST, AMPLITUDE = 220.0, 8000.0

    def embed_lips(self, frames: Tensor) -> Tensor:
        gray = frames[..., 90:110, 100:124].mean(dim=(1, 3, 4))  # (B, n)
        return gray.unfold(1, WINDOW_FRAMES, 1)

    def embed_sound(self, coefficients: Tensor) -> Tensor:
        # The energy of a column of white noise of deviation d is about 400 / 2 * d^2.
        energy = coefficients[:, 0, 0].unfold(1, FRAME_COLUMNS, FRAME_COLUMNS).mean(dim=-1)
        amplitude = (energy - torch.log(torch.tensor(200.0))) / 2
        return self.BRIGHTEST + self.STEP / 0.6931 * (amplitude - torch.log(torch.tensor(self.AMPLITUDE)))
