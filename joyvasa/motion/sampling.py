"""Sampling of motion from sound, for many recordings of any length, window by window.

Encoding sound and sampling motion are separate steps, so that a recording is encoded once for several motions. They are
connected by a lazy iterator and hold a few windows at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from joyvasa.errors import ConfigError
from joyvasa.motion.model import MotionModel
from joyvasa.motion.sequence import MotionSequence, MotionTemplate
from joyvasa.motion.windows import Timing, WindowPlan
from joyvasa.networks.diffusion import Sampler, draw_noise
from joyvasa.networks.motion_sizes import MotionSizes


@dataclass(frozen=True)
class SamplingConfig:
    """Options of motion sampling.

    Raises:
        ConfigError: `sampling_config`.
    """

    cfg_scale: float = 2.8  # strength of classifier-free guidance by the sound; 1 turns it off and halves the time
    sampler: Sampler = "ancestral"  # `ddim` needs fewer steps and is deterministic for given initial noise
    steps: int | None = None  # steps of `ddim`; null: as many as the model was trained with
    flexibility: float = 0.0  # noise of the ancestral sampler, 0 (least) to 1 (most)
    # quantile, lower and upper bound for clipping predictions; null: no clipping
    dynamic_threshold: tuple[float, float, float] | None = None
    # `reference` reproduces JoyVASA: motion two frames late, video up to three frames longer than the sound
    timing: Timing = "aligned"

    def __post_init__(self) -> None:
        if self.sampler not in ("ancestral", "ddim"):
            self._reject("sampler", "ancestral or ddim")
        if self.steps is not None and self.steps < 1:
            self._reject("steps", "at least 1")
        if not 0 <= self.flexibility <= 1:
            self._reject("flexibility", "0 to 1")
        if self.dynamic_threshold is not None:
            quantile, lower, upper = self.dynamic_threshold
            if not (0 < quantile <= 1 and 0 < lower <= upper):
                self._reject("dynamic_threshold", "a quantile in 0 to 1, then the minimum and the maximum bound")
        if self.timing not in ("aligned", "reference"):
            self._reject("timing", "aligned or reference")

    def _reject(self, name: str, expected: str) -> None:
        raise ConfigError(
            "sampling_config", f"sampling: {name} is {getattr(self, name)!r}; expected {expected}: correct it"
        )


@dataclass(frozen=True)
class Recording:
    """Encoded sound from which motion is sampled."""

    plan: WindowPlan  # plan of its windows
    features: Iterable[Tensor]  # output of `encode_windows` for that plan, in order, shape (n, dim); read lazily
    # random generator of this recording, so that the result does not depend on the rest of the batch
    generator: torch.Generator
    cfg_scale: float | None = None  # overrides the guidance of the configuration; None does not


@torch.no_grad()
def encode_windows(
    model: MotionModel,
    windows: Iterable[np.ndarray],
    *,
    windows_per_call: int = 1,
    device: torch.device | str = "cpu",
) -> Iterator[Tensor]:
    """Encode windows of any recordings, in order; holds `windows_per_call` windows.

    Args:
        model: motion model, on `device`.
        windows: windows of shape (samples_per_window,), float32.
        windows_per_call: number of windows encoded at once.
        device: device of the model.

    Yields:
        Features of each window, shape (n, dim), on the device.

    Raises:
        InputError: an error of reading the windows.
    """
    windows = iter(windows)
    while batch := list(islice(windows, windows_per_call)):
        yield from model.encode(torch.from_numpy(np.stack(batch)).to(device))  # (B, n, dim)


@torch.no_grad()
def sample_motion(
    model: MotionModel,
    recordings: Sequence[Recording],
    template: MotionTemplate,
    config: SamplingConfig | None = None,
    *,
    device: torch.device | str = "cpu",
    on_window: Callable[[int, int], object] | None = None,
) -> list[MotionSequence]:
    """Sample motion for recordings of any lengths, in one batch that shrinks as they end.

    From the second window on, the model receives the last frames and audio features of the previous window; all windows
    of a recording start from the same noise. One window of each recording and the motion are held in memory.

    Args:
        model: motion model, on `device`.
        recordings: encoded recordings; their features and generators are consumed.
        template: motion template of the model bundle.
        config: options of sampling; None for the defaults.
        device: device of the model.
        on_window: called after each step with the number of sampled windows and the total, over all recordings.

    Returns:
        Motion of each recording, not smoothed.

    Raises:
        InputError: raised by reading the features.
        ConfigError: `diffusion_steps`.
        ModelError: `template_mismatch`.
    """
    config = config or SamplingConfig()
    sizes = model.sizes
    first_context = sizes.frames_per_window - sizes.previous_frames  # first frame passed to the next window
    runs = [_Run(recording, sizes, config, device) for recording in recordings]
    n_windows = sum(run.plan.n_windows for run in runs)
    n_done = 0

    while active := [run for run in runs if len(run.motion) < run.plan.n_windows]:
        audio = torch.stack([next(run.windows).to(device) for run in active])  # (B, n, dim)
        started = n_done > 0
        motion = model.sample(
            audio,
            prev_motion=torch.stack([run.last_motion for run in active]) if started else None,
            prev_audio=torch.stack([run.last_audio for run in active]) if started else None,
            noise=torch.stack([run.start for run in active]),
            cfg_scale=[run.cfg_scale for run in active],
            steps=config.steps,
            generator=[run.generator for run in active],
            sampler=config.sampler,
            dynamic_threshold=config.dynamic_threshold,
            flexibility=config.flexibility,
        )  # (B, n, D)
        for run, window_motion, window_audio in zip(active, motion, audio, strict=True):
            run.motion.append(window_motion.cpu())
            run.last_motion = window_motion[first_context:].clone()
            run.last_audio = window_audio[first_context:].clone()  # a view would keep the whole batch alive
        n_done += len(active)
        if on_window:
            on_window(n_done, n_windows)

    return [template.denormalize(run.used_motion, sizes.frames_per_second) for run in runs]


class _Run:
    """Sampling state of one recording."""

    last_motion: Tensor  # (P, D), end of the previous window
    last_audio: Tensor  # (P, dim)

    def __init__(
        self,
        recording: Recording,
        sizes: MotionSizes,
        config: SamplingConfig,
        device: torch.device | str,
    ) -> None:
        self.plan = recording.plan
        self.windows = iter(recording.features)
        self.generator = recording.generator
        self.cfg_scale = config.cfg_scale if recording.cfg_scale is None else recording.cfg_scale
        # All windows start from the same noise, so that the motion keeps its character.
        self.start = draw_noise((sizes.frames_per_window, sizes.coefficients), self.generator, torch.device(device))
        self.motion: list[Tensor] = []  # (n, D) for each window

    @property
    def used_motion(self) -> Tensor:
        """Motion of the recording without its padding, shape (frames, D)."""
        return torch.cat(self.motion)[self.plan.first_frame :][: self.plan.n_frames]
