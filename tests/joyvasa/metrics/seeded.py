"""Files with seeded weights in the layout of the bundle `metrics`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from joyvasa.bundles import Bundle, open_bundle
from joyvasa.media.video_reader import probe_video, stream_video
from joyvasa.metrics.base import Clip, Measurement, MetricModels
from joyvasa.networks import build


def write_seeded_weights(role: str, seed: int = 5, **config: Any) -> torch.nn.Module:
    """Write the file of a role with random weights; return the network."""
    bundle = open_bundle("metrics")
    entry = bundle.spec.roles[role]
    torch.manual_seed(seed)
    network = build(str(entry.network), **config)
    for parameter in network.parameters():
        if parameter.ndim > 1:  # so that the output depends on the input
            torch.nn.init.kaiming_normal_(parameter)
    path = bundle.published_path(entry)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({entry.entry: network.state_dict()} if entry.entry else network.state_dict(), path)
    return network


def open_unpinned() -> Bundle:
    """Return the bundle `metrics` without the hashes of the published files, which seeded ones do not have."""
    bundle = open_bundle("metrics")
    roles = {name: role.model_copy(update={"sha256": None}) for name, role in bundle.spec.roles.items()}
    return dataclasses.replace(bundle, spec=bundle.spec.model_copy(update={"roles": roles}))


def metric_models(bundle: Bundle | None = None, device: torch.device | None = None) -> MetricModels:
    """Return the models of a bundle, by default `metrics` with seeded weights on the CPU."""
    return MetricModels(bundle=bundle or open_unpinned(), device=device or torch.device("cpu"))


class _Stub:
    def __init__(self, network: Any) -> None:
        self.stub = network

    def load_network(self, role: str, device: torch.device) -> Any:
        return self.stub


def stub_models(network: Any) -> Any:
    """Return models with the same network for every role."""
    return MetricModels(bundle=_Stub(network), device=torch.device("cpu"))  # type: ignore[arg-type]


def make_silent_clip(frames: np.ndarray, frames_per_second: float = 25.0) -> Clip:
    """Return a clip of a silent video with given frames."""
    height, width = frames.shape[1:3]
    path = Path("video.mp4")
    return Clip(video=path, frames_per_second=frames_per_second, width=width, height=height, has_sound=False)


def feed(measurement: Measurement, frames: np.ndarray, batch: int = 16) -> Measurement:
    """Return the measurement after processing all frames."""
    for part in split_batches(frames, batch):
        measurement.update(part)
    return measurement


def split_batches(frames: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yield read-only batches, like a video reader."""
    for start in range(0, len(frames), size):
        part = frames[start : start + size].copy()
        part.setflags(write=False)
        yield part


def read_frames(path: Path, n_frames: int, side: int) -> tuple[np.ndarray, float]:
    """Return the first frames of a video, scaled to a square, and their rate."""
    frames: list[np.ndarray] = []
    for batch in stream_video(path, size=(side, side)):
        frames.extend(batch)
        if len(frames) >= n_frames:
            break
    return np.stack(frames[:n_frames]), float(probe_video(path).frames_per_second)
