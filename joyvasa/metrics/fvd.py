"""FVD-25: Fréchet distance between the clips of two sets of videos, in the features of I3D.

The JoyVASA paper does not define its FVD-25; here it is the Fréchet video distance (Unterthiner et al. 2018) of clips
of 25 consecutive frames. A value depends on further choices, which are reported with it.
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
SIDE = 224  # input size of I3D, pixels
N_FEATURES = 400

Resize = Literal["short_side", "squash"]
Choices: TypeAlias = Mapping[str, "str | int | float"]


@dataclass(frozen=True, kw_only=True)
class FvdConfig:
    """Choices that FVD leaves open; only values with equal choices are comparable.

    Raises:
        ConfigError: `fvd_config`.
    """

    # frame rate of the clips; other rates are converted by repeating or dropping frames
    frames_per_second: float = 25.0
    clip_frames: int = 25  # number of frames per clip
    stride_frames: int = 25  # number of frames between the starts of consecutive clips
    # maximum number of clips per video, counted from its start. Clips of the same video are similar, and each takes
    # seconds on a CPU; two thousand clips per set are customary.
    clips_per_video: int = 4
    # `short_side` scales the shorter side and crops the center (StyleGAN-V, VideoGPT); `squash` scales both sides
    # (cd-fvd). Both are equal for square frames; bilinear without antialiasing.
    resize: Resize = "short_side"
    ddof: int = 1  # 1 divides the scatter by n - 1 (TF-GAN), 0 by n (StyleGAN-V); relevant for few clips

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
                value = getattr(self, name)
                raise ConfigError("fvd_config", f"FvdConfig.{name}: found {value!r}; expected {expected}: correct it")


class FvdMetric(Metric):
    """Computes the features of clips for FVD; the column is the number of clips, as FVD needs a set of videos.

    `features()` of the measurement returns {"fvd": float32, shape (clips, 400)}.
    """

    name = "fvd"
    columns = (MetricColumn("fvd_clips", "FVD clips", "number of clips that this video contributes to FVD", "clips"),)
    roles = (ROLE,)
    license = "Apache-2.0 (I3D)"
    config: ClassVar[FvdConfig] = FvdConfig()

    # Batch size of the network: all clips of a video, which need 0.5 GB.
    BATCH_CLIPS = 4

    def setup(self, models: MetricModels) -> None:
        """Load I3D."""
        self._network = models.bundle.load_network(ROLE, models.device)
        self._device = models.device

    def start(self, clip: Clip) -> Measurement:
        """Start the measurement of a clip; see `Metric`."""
        return _ClipFeatures(self.config, self._network, self._device, clip.frames_per_second, self.BATCH_CLIPS)


@dataclass(frozen=True)
class FvdSet:
    """Clips of a set of videos."""

    moments: FeatureMoments  # moments of their features
    choices: Choices  # choices from `collect_fvd_choices` at the time the features were computed


@dataclass(frozen=True)
class FvdResult:
    """Distance of two sets, with the choices behind it."""

    value: float | NotMeasured  # distance, or reason for a missing value
    choices: Choices  # choices that affect the value, including the numbers of clips


def compute_fvd(real: FvdSet, generated: FvdSet) -> FvdResult:
    """Compute the Fréchet video distance; biased upward for few clips, so compare sets of equal size."""
    choices = {
        **generated.choices,
        "real_clips": real.moments.count,
        "generated_clips": generated.moments.count,
    }
    for name in sorted({*real.choices, *generated.choices}):
        ours, theirs = generated.choices.get(name), real.choices.get(name)
        if ours != theirs:
            sentence = f"the two sets were computed with {name} {ours!r} and {theirs!r}: score one of them again"
            return FvdResult(NotMeasured("choices_differ", sentence), choices)
    return FvdResult(frechet_distance(real.moments, generated.moments, ddof=int(choices["ddof"])), choices)


def collect_fvd_choices(bundle: Bundle) -> dict[str, str | int | float]:
    """Return the choices that features depend on, for the report and to detect sets that are not comparable.

    Raises:
        ModelError: the weights are missing.
    """
    from joyvasa.networks.metrics.i3d import I3dConfig

    return {
        **asdict(FvdMetric.config),
        "features": f"{N_FEATURES} logits of I3D, mean over time",
        "side": SIDE,
        "batch_norm_epsilon": I3dConfig(**bundle.spec.roles[ROLE].config).batch_norm_epsilon,
        "weights_sha256": bundle.hash_roles([ROLE])[ROLE],
    }


class _ClipFeatures(Measurement):
    """Holds the frames of the clips of one batch, scaled down."""

    def __init__(
        self, config: FvdConfig, network: nn.Module, device: torch.device, frames_per_second: float, batch_clips: int
    ) -> None:
        self._config, self._network, self._device = config, network, device
        self._frames_per_second, self._batch_clips = frames_per_second, batch_clips
        self._n_seen, self._n_sampled, self._n_clips = 0, 0, 0
        self._window: deque[Tensor] = deque(maxlen=config.clip_frames)
        self._clips: list[Tensor] = []
        self._features: list[np.ndarray] = []

    def update(self, frames: np.ndarray) -> None:
        """Sample frames at the rate of the clips until there are enough clips."""
        for frame in frames:
            if self._n_clips == self._config.clips_per_video:
                return
            self._n_seen += 1
            while self._next_source() < self._n_seen and self._n_clips < self._config.clips_per_video:
                self._add_frame(frame)

    def finish(self) -> Values:
        """Return the number of clips."""
        if self._n_clips:
            return {"fvd_clips": self._n_clips}
        config = self._config
        expected = f"expected at least {config.clip_frames} at {config.frames_per_second:g} frames per second"
        return {"fvd_clips": NotMeasured("too_short", f"{self._n_sampled} frames; {expected}")}

    def features(self) -> Mapping[str, np.ndarray]:
        """Return the features of the clips, float32, shape (clips, 400)."""
        self._compute()
        features = np.concatenate([np.zeros((0, N_FEATURES), np.float32), *self._features])
        if not np.isfinite(features).all():
            raise ModelError(
                "features_not_finite", f"{ROLE}: returns numbers that are not finite: download its weights again"
            )
        return {"fvd": features}

    def _next_source(self) -> int:
        """Return the index of the video frame for the next frame of the clips."""
        return math.floor(self._n_sampled * self._frames_per_second / self._config.frames_per_second)

    def _add_frame(self, frame: np.ndarray) -> None:
        pixels = torch.from_numpy(frame.copy()).to(self._device)
        self._window.append(preprocess_frames(pixels[None], self._config.resize)[0])
        self._n_sampled += 1
        start = self._n_sampled - self._config.clip_frames
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
    """Convert frames, uint8 RGB (n, height, width, 3), to the input of I3D: (n, 3, 224, 224) in [-1, 1]."""
    height, width = frames.shape[1:3]
    size = (SIDE, SIDE)
    if resize == "short_side":
        shorter = min(height, width)
        size = (-(-height * SIDE // shorter), -(-width * SIDE // shorter))
    pixels = F.interpolate(frames.permute(0, 3, 1, 2) / 255, size=size, mode="bilinear", align_corners=False)
    top, left = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
    return pixels[..., top : top + SIDE, left : left + SIDE] * 2 - 1
