"""FVD-25: how far the clips of one set of videos are from those of another, in the features of I3D.

The JoyVASA paper gives no definition of its FVD-25; it is read here as the Fréchet video distance (Unterthiner et al.
2018) of clips of 25 consecutive frames. A value says little without the choices behind it, so they go with it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor, nn

from joyvasa.errors import ConfigError, ModelError
from joyvasa.metrics.base import Clip, Measurement, Metric, MetricColumn, MetricModels, NotMeasured, Values
from joyvasa.metrics.support.frechet import FeatureMoments, frechet_distance

if TYPE_CHECKING:
    from joyvasa.bundles import Bundle

ROLE = "i3d"
SIDE = 224  # of the picture that I3D takes, pixels
N_FEATURES = 400

Resize = Literal["short_side", "squash"]
Choices: TypeAlias = Mapping[str, "str | int | float"]


@dataclass(frozen=True, kw_only=True)
class FvdConfig:
    """What FVD leaves open; the numbers of two sets may only be compared where all of it is the same.

    Args:
        frames_per_second: of the clips; other videos give the last frame that has begun at each time.
        clip_frames: frames of a clip.
        stride_frames: from the start of one clip to that of the next.
        clips_per_video: at most; the first ones. More from one video resemble each other, and each costs seconds on a
            CPU; two thousand clips a set are customary.
        resize: `short_side` scales the shorter side and crops the centre (StyleGAN-V, VideoGPT); `squash` scales both
            (cd-fvd). The same for square frames; bilinear without antialiasing.
        ddof: 1 divides the scatter by n - 1 (TF-GAN), 0 by n (StyleGAN-V); it matters for few clips.

    Raises:
        ConfigError: `fvd_config`.
    """

    frames_per_second: float = 25.0
    clip_frames: int = 25
    stride_frames: int = 25
    clips_per_video: int = 4
    resize: Resize = "short_side"
    ddof: int = 1

    def __post_init__(self) -> None:
        from joyvasa.networks.metrics.i3d import MIN_FRAMES

        limits = {
            "frames_per_second": (self.frames_per_second > 0, "above 0"),
            "clip_frames": (self.clip_frames >= MIN_FRAMES, f"at least {MIN_FRAMES}"),
            "stride_frames": (self.stride_frames >= 1, "at least 1"),
            "clips_per_video": (self.clips_per_video >= 1, "at least 1"),
            "resize": (self.resize in ("short_side", "squash"), "short_side or squash"),
            "ddof": (self.ddof in (0, 1), "0 or 1"),
        }
        for name, (good, expected) in limits.items():
            if not good:
                found = getattr(self, name)
                raise ConfigError("fvd_config", f"FvdConfig.{name}: found {found!r}; expected {expected}: correct it")


class FvdMetric(Metric):
    """Gathers clips for FVD, which a video alone has none of; the column tells how many clips it gave.

    The measurement's `features()` are {"fvd": float32, shape (clips, 400)}; no clip fits into a shorter video.
    """

    name = "fvd"
    columns = (MetricColumn("fvd_clips", "FVD clips", "clips of this video that count in FVD", "clips"),)
    roles = (ROLE,)
    license = "Apache-2.0 (I3D)"
    config: ClassVar[FvdConfig] = FvdConfig()

    # Clips that go through the network together; all of a video, so that a GPU has work; they take 0.5 GB.
    BATCH_CLIPS = 4

    def setup(self, models: MetricModels) -> None:
        """Loads I3D."""
        self._network = models.bundle.load_network(ROLE, models.device)
        self._device = models.device

    def start(self, clip: Clip) -> Measurement:
        """Begins with a video."""
        return _ClipFeatures(self.config, self._network, self._device, clip.frames_per_second, self.BATCH_CLIPS)


@dataclass(frozen=True)
class FvdSet:
    """The clips of a set of videos.

    Args:
        moments: of their features.
        choices: of `fvd_choices`, as they were when the features were computed.
    """

    moments: FeatureMoments
    choices: Choices


@dataclass(frozen=True)
class FvdResult:
    """The distance of two sets, never without the choices behind it.

    Args:
        value: or why there is none.
        choices: everything that the value depends on, the numbers of clips too.
    """

    value: float | NotMeasured
    choices: Choices


def compute_fvd(real: FvdSet, generated: FvdSet) -> FvdResult:
    """Fréchet video distance. With few more clips than the 400 features it is biased upwards: compare equal numbers."""
    choices = {
        **generated.choices,
        "real_clips": real.moments.count,
        "generated_clips": generated.moments.count,
    }
    for name in sorted({*real.choices, *generated.choices}):
        ours, theirs = generated.choices.get(name), real.choices.get(name)
        if ours != theirs:
            sentence = f"the two sets were made with {name} {ours!r} and {theirs!r}: score one of them again"
            return FvdResult(NotMeasured("choices_differ", sentence), choices)
    return FvdResult(frechet_distance(real.moments, generated.moments, ddof=int(choices["ddof"])), choices)


def collect_fvd_choices(bundle: Bundle, config: FvdConfig = FvdMetric.config) -> dict[str, str | int | float]:
    """Everything that features depend on, by name; for the report, and to tell sets apart that do not compare.

    Args:
        bundle: with the role `i3d`.
        config: of the metric.

    Raises:
        ModelError: the weights are missing.
    """
    from joyvasa.networks.metrics.i3d import I3dConfig

    return {
        **asdict(config),
        "features": f"{N_FEATURES} logits of I3D, mean over time",
        "side": SIDE,
        "batch_norm_epsilon": I3dConfig(**bundle.spec.roles[ROLE].config).batch_norm_epsilon,
        "weights_sha256": bundle.hashes([ROLE])[ROLE],
    }


class _ClipFeatures(Measurement):
    """Holds the frames of the clips of one batch, scaled down."""

    def __init__(
        self, config: FvdConfig, network: nn.Module, device: torch.device, frames_per_second: float, batch_clips: int
    ) -> None:
        self._config, self._network, self._device = config, network, device
        self._frames_per_second, self._batch_clips = frames_per_second, batch_clips
        self._n_seen, self._n_taken, self._n_clips = 0, 0, 0
        self._window: deque[Tensor] = deque(maxlen=config.clip_frames)
        self._clips: list[Tensor] = []
        self._features: list[np.ndarray] = []

    def update(self, frames: np.ndarray) -> None:
        """Takes the frames that fall on the clips' rate, until there are enough clips."""
        for frame in frames:
            if self._n_clips == self._config.clips_per_video:
                return
            self._n_seen += 1
            while self._next_source() < self._n_seen and self._n_clips < self._config.clips_per_video:
                self._take(frame)

    def finish(self) -> Values:
        """The number of clips."""
        if self._n_clips:
            return {"fvd_clips": self._n_clips}
        config = self._config
        expected = f"expected at least {config.clip_frames} at {config.frames_per_second:g} frames per second"
        reason = NotMeasured("too_short", f"{self._n_taken} frames; {expected}")
        return {"fvd_clips": reason}

    def features(self) -> Mapping[str, np.ndarray]:
        """Of the clips, float32, shape (clips, 400)."""
        self._compute()
        found = np.concatenate([np.zeros((0, N_FEATURES), np.float32), *self._features])
        if not np.isfinite(found).all():
            raise ModelError("features_not_finite", f"{ROLE}: gives numbers that are not finite: get its weights again")
        return {"fvd": found}

    def _next_source(self) -> int:
        """Index of the video's frame that the next frame of the clips is taken from."""
        return math.floor(self._n_taken * self._frames_per_second / self._config.frames_per_second)

    def _take(self, frame: np.ndarray) -> None:
        pixels = torch.from_numpy(frame.copy()).to(self._device)
        self._window.append(preprocess_frames(pixels[None], self._config.resize)[0])
        self._n_taken += 1
        start = self._n_taken - self._config.clip_frames
        if start >= 0 and start % self._config.stride_frames == 0:
            self._clips.append(torch.stack(list(self._window), dim=1))
            self._n_clips += 1
        if len(self._clips) == self._batch_clips:
            self._compute()

    @torch.inference_mode()
    def _compute(self) -> None:
        if self._clips:
            self._features.append(self._network(torch.stack(self._clips)).float().cpu().numpy())
            self._clips = []


@torch.inference_mode()
def preprocess_frames(frames: Tensor, resize: Resize) -> Tensor:
    """Frames as I3D takes them.

    Args:
        frames: uint8 RGB, shape (n, height, width, 3).
        resize: see `FvdConfig`.

    Returns:
        In [-1, 1], shape (n, 3, 224, 224).
    """
    height, width = frames.shape[1:3]
    size = (SIDE, SIDE)
    if resize == "short_side":
        shorter = min(height, width)
        size = (-(-height * SIDE // shorter), -(-width * SIDE // shorter))
    pixels = frames.permute(0, 3, 1, 2) / 255
    pixels = F.interpolate(pixels, size=size, mode="bilinear", align_corners=False)
    top, left = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
    return pixels[..., top : top + SIDE, left : left + SIDE] * 2 - 1
