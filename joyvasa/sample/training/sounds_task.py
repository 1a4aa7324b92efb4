"""The sound encoder learns to hear what the mouth does, before the motion generator learns to move it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from joyvasa.media.audio import SAMPLE_RATE
from joyvasa.networks.speech_encoder import pad_to_frames
from joyvasa.sample.networks.points import INNER_LOWER_LIP, LIPS
from joyvasa.sample.networks.sound_encoder import CompactSoundEncoder, CompactSoundEncoderConfig
from joyvasa.sample.training.learning import Batch, Task
from joyvasa.sample.training.visemes import RATE
from joyvasa.training.clips import ClipRecord
from joyvasa.training.dataset import Dataset
from joyvasa.training.files import Files

BATCH, CLIPS, FRAMES = 24, 8, 100  # windows of 4 s, as long as those of the motion generator, from few clips at once
JAW = 3 * LIPS.index(INNER_LOWER_LIP) + 1  # of the numbers that are read: how far the mouth is open


@dataclass(frozen=True)
class SoundBatches:
    """Batches of sound, and of how the lips move in it in standard deviations.

    Args:
        files: a finished data set of `write_speech`.
        seed: of the order.
    """

    files: Files
    seed: int

    def __iter__(self) -> Iterator[Batch]:
        dataset, r = Dataset(self.files), np.random.default_rng(self.seed)
        places, template = dataset.clips("train"), dataset.template()
        mean, deviation = template.expression_mean.numpy(), template.expression_std.numpy()
        while True:
            clips = [dataset.read(places[n]) for n in r.integers(len(places), size=CLIPS)]
            windows = [_window(clip, mean, deviation, r) for clip in clips for _ in range(BATCH // CLIPS)]
            yield tuple(np.stack(arrays) for arrays in zip(*windows, strict=True))


class SoundsTask(Task):
    """A linear layer must read the lips from the encoder.

    Args:
        files: see `SoundBatches`.
        config: sizes of the encoder.
    """

    name = "sounds"

    def __init__(self, files: Files, config: CompactSoundEncoderConfig) -> None:
        self._files = files
        self.encoder = CompactSoundEncoder(config)
        self.read = nn.Linear(config.hidden_size, 3 * len(LIPS))
        self.network = nn.ModuleDict({"encoder": self.encoder, "read": self.read})

    def batches(self, seed: int) -> SoundBatches:
        """See `SoundBatches`."""
        return SoundBatches(self._files, seed)

    def loss(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, dict[str, float]]:
        """Squared errors of place and speed; `jaw` is the correlation of the opening."""
        sound, lips = batch
        encoder = self.encoder.config
        padded = pad_to_frames(sound, stride=encoder.stride, receptive_field=encoder.receptive_field)
        # Frames of 50 Hz in pairs, as the motion generator takes them.
        hidden = self.encoder(padded, frames_per_second=RATE, n_frames=2 * FRAMES)
        found = self.read(hidden.unflatten(1, (FRAMES, 2)).mean(2))  # (B, FRAMES, numbers)
        place = (found - lips).square().mean()
        speed = (found.diff(dim=1) - lips.diff(dim=1)).square().mean()
        jaws = torch.stack([found[..., JAW].flatten(), lips[..., JAW].flatten()]).detach()
        return place + speed, {"place": float(place.detach()), "jaw": float(torch.corrcoef(jaws)[0, 1])}


def _window(
    clip: ClipRecord, mean: np.ndarray, deviation: np.ndarray, r: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Sound (samples,) float32 and lips (FRAMES, numbers) float32 from anywhere in a clip."""
    start, size = int(r.integers(clip.n_frames - FRAMES + 1)), SAMPLE_RATE // RATE
    sound = clip.sound[start * size : (start + FRAMES) * size].astype(np.float32) / 32768
    moved = clip.motion.expression[start : start + FRAMES].flatten(1).numpy() - mean
    scaled = np.divide(moved, deviation, out=np.zeros_like(moved), where=deviation > 0)
    return sound, scaled.reshape(FRAMES, -1, 3)[:, list(LIPS)].reshape(FRAMES, -1).astype(np.float32)
