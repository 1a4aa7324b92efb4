"""Training samples: pairs of consecutive, normalized windows of a clip with their random numbers.

A sample depends only on the seed and on its position in the run. A run can therefore be resumed at any step, on any
number of devices, with the same samples as a run without interruption.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from joyvasa.errors import ConfigError, InputError
from joyvasa.motion.sequence import POSE_SIZE, MotionSequence, MotionTemplate
from joyvasa.networks.motion_generator import MotionGeneratorConfig
from joyvasa.training.clips import ClipRecord, Split
from joyvasa.training.config import SampleConfig
from joyvasa.training.dataset import ClipLocation, Dataset

WINDOWS = 2
EXTRA_FRAMES = 2  # minimum length beyond two windows, as in JoyVASA; shorter clips are repeated
EPSILON = 1e-9  # added to divisors, as in JoyVASA
_ORDER, _SAMPLE = range(2)  # purposes of random number generators


@dataclass(frozen=True, kw_only=True)
class TrainingBatch:
    """B training samples of two windows each; a window has S samples of sound and n frames of D numbers."""

    audio: Tensor  # mono in [-1, 1], shape (B, 2, S)
    motion: Tensor  # normalized motion, shape (B, 2, n, D)
    end: Tensor  # number of valid frames of each window, 1 to n, shape (B, 2), int64
    step: Tensor  # diffusion step, shape (B, 2), int64
    noise: Tensor  # standard normal noise, shape (B, 2, n, D)
    without_audio: Tensor  # windows to train without their sound, shape (B, 2), bool

    def __len__(self) -> int:
        return len(self.audio)

    def to(self, device: torch.device) -> TrainingBatch:
        """Move to a device, asynchronously from pinned memory."""
        moved = {item.name: getattr(self, item.name).to(device, non_blocking=True) for item in fields(self)}
        return TrainingBatch(**moved)

    def pin_memory(self) -> TrainingBatch:
        """Copy to pinned memory."""
        return TrainingBatch(**{item.name: getattr(self, item.name).pin_memory() for item in fields(self)})

    @classmethod
    def concatenate(cls, batches: list[TrainingBatch]) -> TrainingBatch:
        """Concatenate batches."""
        return cls(**{item.name: torch.cat([getattr(batch, item.name) for batch in batches]) for item in fields(cls)})


class SampleStream:
    """The samples of a split, in a new order in each epoch.

    Args:
        dataset: finished data set.
        split: train or validation.
        template: statistics that normalize the motion.
        sizes: sizes of the network.
        config: options of the random choices.
        seed: seed of the run.
        shuffle: whether to draw the order, the positions in the clips and the truncation; otherwise clips are used in
            order, from their starts, without truncation.
        limit: maximum number of clips; None for all.

    Raises:
        InputError: `dataset_empty`.
        ConfigError: `dataset_mismatch`.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: Split,
        template: MotionTemplate,
        sizes: MotionGeneratorConfig,
        config: SampleConfig,
        *,
        seed: int,
        shuffle: bool = True,
        limit: int | None = None,
    ) -> None:
        self.dataset, self.template, self.sizes, self.config = dataset, template, sizes, config
        self.seed, self.shuffle = seed, shuffle
        self.locations: list[ClipLocation] = dataset.clips(split)[:limit]
        self._order = lru_cache(maxsize=2)(self._draw_order)

        card = dataset.card
        if not self.locations:
            raise InputError(
                "dataset_empty",
                f"{dataset.files.root}: no clip to {'train' if split == 'train' else 'validate'} with; expected at "
                "least one: prepare more recordings",
            )
        if card.frames_per_second != sizes.fps:
            raise ConfigError(
                "dataset_mismatch",
                f"{dataset.files.root}: {card.frames_per_second} frames per second and network.fps is {sizes.fps}; "
                "expected the same: change network.fps",
            )
        min_size = 3 * card.keypoints + POSE_SIZE
        if sizes.motion_feat_dim < min_size:
            raise ConfigError(
                "dataset_mismatch",
                f"{dataset.files.root}: {card.keypoints} keypoints and network.motion_feat_dim is "
                f"{sizes.motion_feat_dim}; expected at least {min_size}: change network.motion_feat_dim",
            )

    def epoch(self, position: int) -> float:
        """Return the number of epochs before a position."""
        return position / len(self.locations)

    def sample(self, position: int) -> TrainingBatch:
        """Build one sample, as a batch of size 1.

        Raises:
            InputError: the clip cannot be read.
        """
        epoch, index = divmod(position, len(self.locations))
        clip = self.dataset.read(self.locations[int(self._order(epoch)[index])])
        generator = self._generator(_SAMPLE, position)

        # windows
        sizes, n_frames = self.sizes, self.sizes.n_motions
        motion = normalize_motion(clip.motion, self.template, sizes.motion_feat_dim)
        audio, motion = repeat_to_length(torch.from_numpy(clip.waveform()), motion, sizes)
        last_start = len(motion) - WINDOWS * n_frames - EXTRA_FRAMES
        start = int(generator.integers(last_start + 1)) if self.shuffle and last_start > 0 else 0
        audio, motion = cut_windows(audio, motion, start, sizes)

        # random numbers; their order is part of the reproducibility of runs
        end = torch.full((WINDOWS,), n_frames)
        draws, ends = generator.random(WINDOWS), generator.integers(1, n_frames, WINDOWS)
        if self.shuffle:
            for window in np.flatnonzero(draws < self.config.truncation):
                end[window] = int(ends[window])
        steps = generator.integers(1, sizes.n_diff_steps + 1, WINDOWS)
        without_audio = generator.random(WINDOWS) < (self.config.guidance_dropout if self.shuffle else 0)
        return TrainingBatch(
            audio=audio[None],
            motion=motion[None],
            end=end[None],
            step=torch.from_numpy(steps)[None],
            noise=torch.from_numpy(generator.standard_normal(motion.shape, np.float32))[None],
            without_audio=torch.from_numpy(without_audio)[None],
        )

    def batch(self, start: int, size: int) -> TrainingBatch:
        """Build the samples of `size` positions from `start`."""
        return TrainingBatch.concatenate([self.sample(position) for position in range(start, start + size)])

    def read_clip(self, number: int) -> ClipRecord:
        """Read a clip of the split by its number."""
        return self.dataset.read(self.locations[number])

    def _generator(self, purpose: int, number: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, purpose, int(self.shuffle), number])

    def _draw_order(self, epoch: int) -> np.ndarray:
        if not self.shuffle:
            return np.arange(len(self.locations))
        return self._generator(_ORDER, epoch).permutation(len(self.locations))


def normalize_motion(motion: MotionSequence, template: MotionTemplate, size: int) -> Tensor:
    """Normalize motion for the network: standardize the expression, scale the pose to the range of the template.

    Args:
        motion: T frames of K keypoints.
        template: statistics of K keypoints.
        size: numbers per frame, at least 3 K + 7; further numbers are 0.

    Returns:
        Normalized motion, shape (T, size), float32.
    """
    expression = (motion.expression.flatten(1) - template.expression_mean) / (template.expression_std + EPSILON)
    pose = (motion.pose - template.pose_min) / (template.pose_max - template.pose_min + EPSILON)
    frames = torch.cat([expression, pose], dim=1).float()
    return torch.nn.functional.pad(frames, (0, size - frames.shape[1]))


def repeat_to_length(audio: Tensor, motion: Tensor, sizes: MotionGeneratorConfig) -> tuple[Tensor, Tensor]:
    """Double a clip, sound (samples,) and normalized motion (T, D), until it is long enough for two windows."""
    while len(motion) < WINDOWS * sizes.n_motions + EXTRA_FRAMES:
        audio, motion = torch.cat([audio, audio]), torch.cat([motion, motion])
    return audio, motion


def cut_windows(audio: Tensor, motion: Tensor, start: int, sizes: MotionGeneratorConfig) -> tuple[Tensor, Tensor]:
    """Cut two consecutive windows from a clip, sound (samples,) and normalized motion (T, D), starting at a frame.

    Returns:
        Sound, shape (2, S), and motion, shape (2, n, D).
    """
    samples_per_frame, n_frames = sizes.sample_rate // sizes.fps, WINDOWS * sizes.n_motions
    audio = audio[start * samples_per_frame :][: n_frames * samples_per_frame]
    return audio.reshape(WINDOWS, -1), motion[start : start + n_frames].unflatten(0, (WINDOWS, -1))


def truncate_windows(audio: Tensor, motion: Tensor, end: Tensor, mode: str = "zero") -> tuple[Tensor, Tensor]:
    """Replace the sound and the motion after the end of each window.

    Args:
        audio: sound, shape (B, S).
        motion: normalized motion, shape (B, n, D).
        end: number of frames to keep, 1 to n, shape (B,).
        mode: `zero` to fill with zeros, `replicate` to repeat the last frame and sample.
    """
    samples_per_frame = audio.shape[1] // motion.shape[1]
    results = []
    for values, length in ((audio[..., None], end * samples_per_frame), (motion, end)):
        index = torch.arange(values.shape[1], device=values.device)[None]  # (1, frames)
        valid = index < length[:, None]
        last = (length - 1)[:, None, None].expand(-1, 1, values.shape[2])
        fill = values.gather(1, last) if mode == "replicate" else torch.zeros_like(values[:, :1])
        results.append(torch.where(valid[..., None], values, fill))
    return results[0][..., 0], results[1]
