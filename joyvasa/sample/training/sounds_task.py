"""Pretraining of the sound encoder to predict the motion of the lips."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from joyvasa.media.audio import SAMPLE_RATE
from joyvasa.networks.speech_encoder import pad_to_frames
from joyvasa.sample.networks.points import INNER_LOWER_LIP, LIPS
from joyvasa.sample.networks.sound_encoder import CompactSoundEncoder, CompactSoundEncoderConfig
from joyvasa.sample.training.training_loop import Batch, TrainingTask
from joyvasa.sample.training.visemes import RATE
from joyvasa.training.clips import ClipRecord
from joyvasa.training.dataset import Dataset
from joyvasa.training.file_store import FileStore

BATCH, CLIPS, FRAMES = 24, 8, 100  # windows per batch, clips per batch, frames per window (4 s, as in generation)
JAW = 3 * LIPS.index(INNER_LOWER_LIP) + 1  # index of the opening of the mouth in the predicted numbers


class SoundsTask(TrainingTask):
    """Predict lip motion from encoder features with a linear layer."""

    name = "sounds"

    def __init__(self, files: FileStore, config: CompactSoundEncoderConfig) -> None:
        self.data = (files,)
        self.encoder = CompactSoundEncoder(config)
        self.head = nn.Linear(config.hidden_size, 3 * len(LIPS))
        self.network = nn.ModuleDict({"encoder": self.encoder, "read": self.head})

    @staticmethod
    def draw_batches(files: FileStore, *, seed: int) -> Iterator[Batch]:
        """Yield batches of sound and of the motion of the lips in standard deviations."""
        dataset, r = Dataset(files), np.random.default_rng(seed)
        locations, template = dataset.clips("train"), dataset.load_template()
        mean, deviation = template.expression_mean.numpy(), template.expression_std.numpy()
        while True:
            clips = [dataset.read(locations[n]) for n in r.integers(len(locations), size=CLIPS)]
            windows = [_draw_window(clip, mean, deviation, r) for clip in clips for _ in range(BATCH // CLIPS)]
            yield tuple(np.stack(arrays) for arrays in zip(*windows, strict=True))

    def loss(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, dict[str, float]]:
        """Return the squared error of position and speed; the figure `jaw` is the correlation of the opening."""
        sound, lips = batch
        encoder = self.encoder.config
        padded = pad_to_frames(sound, stride=encoder.stride, receptive_field=encoder.receptive_field)
        # Frames of 50 Hz are averaged in pairs, as in the motion generator.
        hidden = self.encoder(padded, frames_per_second=RATE, n_frames=2 * FRAMES)
        predicted = self.head(hidden.unflatten(1, (FRAMES, 2)).mean(2))  # (B, FRAMES, numbers)
        position = (predicted - lips).square().mean()
        speed = (predicted.diff(dim=1) - lips.diff(dim=1)).square().mean()
        jaws = torch.stack([predicted[..., JAW].flatten(), lips[..., JAW].flatten()]).detach()
        return position + speed, {"position": float(position.detach()), "jaw": float(torch.corrcoef(jaws)[0, 1])}


def _draw_window(
    clip: ClipRecord, mean: np.ndarray, deviation: np.ndarray, r: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a window of a clip: sound (samples,) float32 and lips (FRAMES, numbers) float32."""
    start, size = int(r.integers(clip.n_frames - FRAMES + 1)), SAMPLE_RATE // RATE
    sound = clip.sound[start * size : (start + FRAMES) * size].astype(np.float32) / 32768
    moved = clip.motion.expression[start : start + FRAMES].flatten(1).numpy() - mean
    scaled = np.divide(moved, deviation, out=np.zeros_like(moved), where=deviation > 0)
    return sound, scaled.reshape(FRAMES, -1, 3)[:, list(LIPS)].reshape(FRAMES, -1).astype(np.float32)
