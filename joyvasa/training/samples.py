"""From a clip to a sample: a pair of consecutive windows, normalised, with all that is random about it drawn.

A sample is a function of the run's seed and its position in the run alone. So a run can go on at any step, on any
number of devices, as if it had never stopped.
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
# What JoyVASA asks of a clip beyond two windows; shorter ones are played again from their start.
EXTRA_FRAMES = 2
EPSILON = 1e-9  # that JoyVASA adds to divisors
_ORDER, _SAMPLE = range(2)  # what a stream of random numbers is for


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples of two windows each; B of them, S samples of sound and n frames of D numbers a window.

    Args:
        audio: mono in [-1, 1], shape (B, 2, S).
        motion: normalised, shape (B, 2, n, D).
        end: valid frames of each window, 1 to n, shape (B, 2), int64.
        step: diffusion step, shape (B, 2), int64.
        noise: standard normal, shape (B, 2, n, D).
        without_audio: windows that are learned without their sound, shape (B, 2), bool.
    """

    audio: Tensor
    motion: Tensor
    end: Tensor
    step: Tensor
    noise: Tensor
    without_audio: Tensor

    def __len__(self) -> int:
        return len(self.audio)

    def to(self, device: torch.device) -> Batch:
        """On a device; from pinned memory without waiting."""
        moved = {item.name: getattr(self, item.name).to(device, non_blocking=True) for item in fields(self)}
        return Batch(**moved)

    def pinned(self) -> Batch:
        """In memory from which a GPU copies by itself."""
        return Batch(**{item.name: getattr(self, item.name).pin_memory() for item in fields(self)})

    @classmethod
    def of(cls, samples: list[Batch]) -> Batch:
        """Several in one."""
        return cls(**{item.name: torch.cat([getattr(one, item.name) for one in samples]) for item in fields(cls)})


class SampleStream:
    """The samples of a split, in an order that is new in each epoch.

    Args:
        dataset: finished.
        split: train or validation.
        template: statistics by which motion is scaled.
        sizes: of the network.
        config: what is drawn.
        seed: of the run.
        shuffle: draw order and place in the clip; off: clip by clip, each from its start, without truncation.
        limit: use this many clips at most.

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
        self.places: list[ClipLocation] = dataset.clips(split)[:limit]
        card = dataset.card
        if not self.places:
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
        least = 3 * card.keypoints + POSE_SIZE
        if sizes.motion_feat_dim < least:
            raise ConfigError(
                "dataset_mismatch",
                f"{dataset.files.root}: {card.keypoints} keypoints and network.motion_feat_dim is "
                f"{sizes.motion_feat_dim}; expected at least {least}: change network.motion_feat_dim",
            )
        self._order = lru_cache(maxsize=2)(self._order_of)

    def epoch(self, position: int) -> float:
        """How often all clips were seen before a position."""
        return position / len(self.places)

    def sample(self, position: int) -> Batch:
        """One sample, as a batch of one.

        Args:
            position: in the run, from 0.

        Raises:
            InputError: what reading the clip raises.
        """
        epoch, place = divmod(position, len(self.places))
        clip = self.dataset.read(self.places[int(self._order(epoch)[place])])
        draw = self._generator(_SAMPLE, position)
        sizes, n_frames = self.sizes, self.sizes.n_motions
        motion = normalize_motion(clip.motion, self.template, sizes.motion_feat_dim)
        audio, motion = repeat_to_length(torch.from_numpy(clip.waveform()), motion, sizes)
        last_start = len(motion) - WINDOWS * n_frames - EXTRA_FRAMES
        start = int(draw.integers(last_start + 1)) if self.shuffle and last_start > 0 else 0
        audio, motion = cut_windows(audio, motion, start, sizes)
        end = torch.full((WINDOWS,), n_frames)
        coins, ends = draw.random(WINDOWS), draw.integers(1, n_frames, WINDOWS)
        if self.shuffle:
            for window in np.flatnonzero(coins < self.config.truncation):
                end[window] = int(ends[window])
        steps = draw.integers(1, sizes.n_diff_steps + 1, WINDOWS)
        without = draw.random(WINDOWS) < (self.config.guidance_dropout if self.shuffle else 0)
        return Batch(
            audio=audio[None],
            motion=motion[None],
            end=end[None],
            step=torch.from_numpy(steps)[None],
            noise=torch.from_numpy(draw.standard_normal(motion.shape, np.float32))[None],
            without_audio=torch.from_numpy(without)[None],
        )

    def batch(self, start: int, size: int) -> Batch:
        """The samples of `size` positions from `start` on."""
        return Batch.of([self.sample(position) for position in range(start, start + size)])

    def clip(self, number: int) -> ClipRecord:
        """A clip as it was written."""
        return self.dataset.read(self.places[number])

    def _generator(self, purpose: int, number: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, purpose, int(self.shuffle), number])

    def _order_of(self, epoch: int) -> np.ndarray:
        if not self.shuffle:
            return np.arange(len(self.places))
        return self._generator(_ORDER, epoch).permutation(len(self.places))


def normalize_motion(motion: MotionSequence, template: MotionTemplate, size: int) -> Tensor:
    """Motion as the network takes it: standardised expression, pose between its least and largest value.

    Args:
        motion: T frames of K keypoints.
        template: statistics of K keypoints.
        size: numbers of a frame, at least 3 K + 7; what the motion does not have is 0.

    Returns:
        shape (T, size), float32.
    """
    expression = (motion.expression.flatten(1) - template.expression_mean) / (template.expression_std + EPSILON)
    pose = (motion.pose - template.pose_min) / (template.pose_max - template.pose_min + EPSILON)
    frames = torch.cat([expression, pose], dim=1).float()
    return torch.nn.functional.pad(frames, (0, size - frames.shape[1]))


def repeat_to_length(audio: Tensor, motion: Tensor, sizes: MotionGeneratorConfig) -> tuple[Tensor, Tensor]:
    """A clip that is too short for two windows, doubled until it is long enough.

    Args:
        audio: shape (samples,).
        motion: shape (T, D).
        sizes: of the network.
    """
    while len(motion) < WINDOWS * sizes.n_motions + EXTRA_FRAMES:
        audio, motion = torch.cat([audio, audio]), torch.cat([motion, motion])
    return audio, motion


def cut_windows(audio: Tensor, motion: Tensor, start: int, sizes: MotionGeneratorConfig) -> tuple[Tensor, Tensor]:
    """Two consecutive windows of a clip.

    Args:
        audio: shape (samples,).
        motion: shape (T, D).
        start: first frame.
        sizes: of the network.

    Returns:
        shapes (2, S) and (2, n, D).
    """
    samples_per_frame, n_frames = sizes.sample_rate // sizes.fps, WINDOWS * sizes.n_motions
    audio = audio[start * samples_per_frame :][: n_frames * samples_per_frame]
    return audio.reshape(WINDOWS, -1), motion[start : start + n_frames].unflatten(0, (WINDOWS, -1))


def truncate_windows(audio: Tensor, motion: Tensor, end: Tensor, mode: str = "zero") -> tuple[Tensor, Tensor]:
    """Windows without what follows their ends.

    Args:
        audio: shape (B, S).
        motion: shape (B, n, D).
        end: frames that stay, 1 to n, shape (B,).
        mode: `zero`, or `replicate` the last frame and sample that stay.
    """
    samples_per_frame = audio.shape[1] // motion.shape[1]
    results = []
    for values, length in ((audio[..., None], end * samples_per_frame), (motion, end)):
        index = torch.arange(values.shape[1], device=values.device)[None]  # (1, frames)
        kept = index < length[:, None]
        last = (length - 1)[:, None, None].expand(-1, 1, values.shape[2])
        rest = values.gather(1, last) if mode == "replicate" else torch.zeros_like(values[:, :1])
        results.append(torch.where(kept[..., None], values, rest))
    return results[0][..., 0], results[1]
