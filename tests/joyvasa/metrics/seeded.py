"""Published files with seeded weights, where the bundle `metrics` looks for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from joyvasa.bundles import Bundle, open_bundle
from joyvasa.media.video_reader import probe_video, stream_video
from joyvasa.metrics.base import Clip, Measurement, MetricModels
from joyvasa.networks import build


def put_weights(role: str, seed: int = 5, **config: Any) -> torch.nn.Module:
    """Writes the file of a role and gives the network that it was taken from."""
    bundle = open_bundle("metrics")
    entry = bundle.spec.roles[role]
    torch.manual_seed(seed)
    network = build(str(entry.network), **config)
    for parameter in network.parameters():
        if parameter.ndim > 1:  # so that differences of the input reach the output
            torch.nn.init.kaiming_normal_(parameter)
    path = bundle.path(entry)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({entry.entry: network.state_dict()} if entry.entry else network.state_dict(), path)
    return network


def models(bundle: Bundle | None = None, device: torch.device | None = None) -> MetricModels:
    """On the CPU unless another device is given."""
    return MetricModels(bundle=bundle or open_bundle("metrics"), device=device or torch.device("cpu"))


class _Stub:
    def __init__(self, network: Any) -> None:
        self.stub = network

    def load_network(self, role: str, device: torch.device) -> Any:
        """Whatever the role."""
        return self.stub


def stub_models(network: Any) -> Any:
    """A bundle with one network for every role."""
    return MetricModels(bundle=_Stub(network), device=torch.device("cpu"))  # type: ignore[arg-type]


def clip_of(frames: np.ndarray, frames_per_second: float = 25.0) -> Clip:
    """What is known of a silent video with these frames."""
    height, width = frames.shape[1:3]
    path = Path("video.mp4")
    return Clip(video=path, frames_per_second=frames_per_second, width=width, height=height, has_sound=False)


def fed(measurement: Measurement, frames: np.ndarray, batch: int = 16) -> Measurement:
    """The measurement after it has seen all frames."""
    for part in batches(frames, batch):
        measurement.update(part)
    return measurement


def batches(frames: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Read-only, as from a reader."""
    for start in range(0, len(frames), size):
        part = frames[start : start + size].copy()
        part.setflags(write=False)
        yield part


def real_frames(path: Path, n_frames: int, side: int) -> tuple[np.ndarray, float]:
    """The first frames of a video, scaled to a square, and their rate."""
    found: list[np.ndarray] = []
    for batch in stream_video(path, size=(side, side)):
        found.extend(batch)
        if len(found) >= n_frames:
            break
    return np.stack(found[:n_frames]), float(probe_video(path).frames_per_second)
