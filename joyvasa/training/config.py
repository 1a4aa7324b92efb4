"""Options of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from joyvasa.errors import ConfigError
from joyvasa.networks.motion_generator import MotionGeneratorConfig
from joyvasa.runtime.device import Precision
from joyvasa.training.losses import JOINT_FRAMES, LossConfig


def _invalid(config: Any, name: str, expected: str, prefix: str = "") -> ConfigError:
    return ConfigError("config_invalid", f"{prefix}{name} is {getattr(config, name)!r}; expected {expected}")


@dataclass(frozen=True)
class SampleConfig:
    """Random choices for each sample, a pair of consecutive windows.

    Raises:
        ConfigError: `config_invalid`.
    """

    # probability of truncating the first and the second window, so that the network learns the ends of recordings
    truncation: tuple[float, float] = (0.3, 0.4)
    truncation_mode: Literal["zero", "replicate"] = "zero"  # fill truncated frames with zeros, or repeat the last frame
    guidance_dropout: float = 0.1  # probability of training a window without its sound, for classifier-free guidance

    def __post_init__(self) -> None:
        if not all(0 <= share <= 1 for share in self.truncation):
            raise _invalid(self, "truncation", "two shares in 0 to 1", "samples.")
        if not 0 <= self.guidance_dropout < 1:
            raise _invalid(self, "guidance_dropout", "0 to below 1", "samples.")


@dataclass(frozen=True)
class OptimizerConfig:
    """Options of Adam and of its learning rate; the defaults are those of JoyVASA.

    Raises:
        ConfigError: `config_invalid`.
    """

    learning_rate: float = 1e-4  # learning rate of Adam
    # schedule of the learning rate after the warm-up, down to `final_share`
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    warmup_steps: int = 0  # steps over which the learning rate rises from 0
    final_share: float = 0.0  # final learning rate, relative to `learning_rate`
    clip_norm: float = 2.0  # largest norm of the gradient of all weights
    # decay of a moving average of the weights, such as 0.999, which is then validated and exported; null: none
    ema_decay: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < 1:
            raise _invalid(self, "learning_rate", "above 0 to below 1", "optimizer.")
        if self.warmup_steps < 0 or not 0 <= self.final_share <= 1:
            name = "warmup_steps" if self.warmup_steps < 0 else "final_share"
            raise _invalid(self, name, "at least 0" if self.warmup_steps < 0 else "0 to 1", "optimizer.")
        if not self.clip_norm > 0:
            raise _invalid(self, "clip_norm", "above 0", "optimizer.")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise _invalid(self, "ema_decay", "above 0 to below 1, or null", "optimizer.")


@dataclass(frozen=True)
class CheckpointConfig:
    """Options of validation, checkpoints and logs.

    Raises:
        ConfigError: `config_invalid`.
    """

    every_steps: int = 1000  # steps between checkpoints; each one is validated
    keep: int = 3  # number of newest checkpoints to keep, in addition to the best one
    validation_clips: int = 256  # largest number of clips to validate with
    pictures: int = 3  # clips whose generated motion is plotted, once per epoch at most
    tensorboard: bool = True  # write TensorBoard logs; needs `joyvasa[train]`

    def __post_init__(self) -> None:
        for name, minimum in {"every_steps": 1, "keep": 1, "validation_clips": 0, "pictures": 0}.items():
            if getattr(self, name) < minimum:
                raise _invalid(self, name, f"at least {minimum}", "checkpoints.")


@dataclass(frozen=True)
class TrainingConfig:
    """Options of a training run; the defaults are those of JoyVASA's training script.

    Raises:
        ConfigError: `config_invalid`.
    """

    steps: int = 50_000  # optimizer steps of the run
    batch_size: int = 16  # samples per step, each a pair of windows
    # samples on one device at once. A step is the sum of its micro-batches, so losses do not depend on the number of
    # devices if this is set; it affects dropout. null: the share of each worker
    micro_batch_size: int | None = None
    seed: int = 0  # seed of everything random in the run
    device: str = "auto"  # `auto` (the best available), `cpu`, `cuda`, `cuda:1`, `mps`
    precision: Precision = "fp32"  # precision of the networks; weights and losses stay float32
    # HuBERT or wav2vec 2.0 to start from: a bundle, a weight file or its folder; null: random weights
    speech_encoder: str | None = None
    loader_threads: int = 2  # threads that read clips
    prefetch: int = 4  # micro-batches prepared ahead
    network: MotionGeneratorConfig = field(
        default_factory=lambda: MotionGeneratorConfig(motion_feat_dim=70, n_prev_motions=25)
    )
    samples: SampleConfig = field(default_factory=SampleConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    checkpoints: CheckpointConfig = field(default_factory=CheckpointConfig)

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "loader_threads", "prefetch"):
            if getattr(self, name) < 1:
                raise _invalid(self, name, "at least 1")

        if not 0 <= self.seed < 2**63:
            raise _invalid(self, "seed", "0 to 2^63 - 1")
        if self.micro_batch_size is not None and (self.micro_batch_size < 1 or self.batch_size % self.micro_batch_size):
            raise _invalid(self, "micro_batch_size", f"a divisor of batch_size, {self.batch_size}")
        if self.network.n_prev_motions < JOINT_FRAMES:
            expected = f"at least {JOINT_FRAMES}, for the loss at the joint of two windows"
            raise _invalid(self.network, "n_prev_motions", expected, "network.")
        if self.optimizer.warmup_steps >= self.steps:
            raise _invalid(self.optimizer, "warmup_steps", f"less than the {self.steps} steps", "optimizer.")

    @property
    def micro_batches(self) -> int:
        """Number of micro-batches per step."""
        return self.batch_size // (self.micro_batch_size or self.batch_size)

    def for_workers(self, workers: int) -> TrainingConfig:
        """Return the options with a micro-batch size that divides the batch evenly among workers.

        Raises:
            ConfigError: `config_invalid`.
        """
        share, remainder = divmod(self.batch_size, workers)
        size = self.micro_batch_size or share
        if remainder or not size or share % size:
            raise ConfigError(
                "config_invalid",
                f"batch_size {self.batch_size} in micro-batches of {size or share} for {workers} workers; expected "
                "the same number of micro-batches for each: change batch_size, micro_batch_size or --workers",
            )
        return replace(self, micro_batch_size=size)
