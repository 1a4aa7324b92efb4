"""Every option of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from joyvasa.errors import ConfigError
from joyvasa.networks.motion_generator import MotionGeneratorConfig
from joyvasa.runtime.device import Precision
from joyvasa.training.losses import JOINT_FRAMES, LossConfig


def _refuse(config: Any, name: str, expected: str, prefix: str = "") -> ConfigError:
    return ConfigError("config_invalid", f"{prefix}{name} is {getattr(config, name)!r}; expected {expected}")


@dataclass(frozen=True)
class SampleConfig:
    """What is drawn for each sample, a pair of consecutive windows.

    Raises:
        ConfigError: `config_invalid`.
    """

    # How often the end of a window is taken away, so that the network learns the ends of recordings: first, second.
    truncation: tuple[float, float] = (0.3, 0.4)
    truncation_mode: Literal["zero", "replicate"] = "zero"  # what stands in the place of what is taken away
    guidance_dropout: float = 0.1  # how often a window is learned without its sound, for guidance

    def __post_init__(self) -> None:
        if not all(0 <= share <= 1 for share in self.truncation):
            raise _refuse(self, "truncation", "two shares in 0 to 1", "samples.")
        if not 0 <= self.guidance_dropout < 1:
            raise _refuse(self, "guidance_dropout", "0 to below 1", "samples.")


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam and its learning rate; the defaults are those of JoyVASA.

    Raises:
        ConfigError: `config_invalid`.
    """

    learning_rate: float = 1e-4
    schedule: Literal["constant", "cosine", "linear"] = "constant"  # after the warm-up, down to `final_share`
    warmup_steps: int = 0
    final_share: float = 0.0  # of the learning rate, where the schedule ends
    clip_norm: float = 2.0  # of the gradient of all weights
    ema_decay: float | None = None  # keep a moving average of the weights, and use it: 0.999 ...

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < 1:
            raise _refuse(self, "learning_rate", "above 0 to below 1", "optimizer.")
        if self.warmup_steps < 0 or not 0 <= self.final_share <= 1:
            name = "warmup_steps" if self.warmup_steps < 0 else "final_share"
            raise _refuse(self, name, "at least 0" if self.warmup_steps < 0 else "0 to 1", "optimizer.")
        if not self.clip_norm > 0:
            raise _refuse(self, "clip_norm", "above 0", "optimizer.")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise _refuse(self, "ema_decay", "above 0 to below 1, or null", "optimizer.")


@dataclass(frozen=True)
class CheckpointConfig:
    """When the run is checked and kept.

    Raises:
        ConfigError: `config_invalid`.
    """

    every_steps: int = 1000  # validate, write a checkpoint and the log
    keep: int = 3  # newest checkpoints; the best one is kept beside them
    validation_clips: int = 256  # at most
    pictures: int = 3  # clips whose generated motion is plotted, once an epoch at most
    tensorboard: bool = True

    def __post_init__(self) -> None:
        for name, least in {"every_steps": 1, "keep": 1, "validation_clips": 0, "pictures": 0}.items():
            if getattr(self, name) < least:
                raise _refuse(self, name, f"at least {least}", "checkpoints.")


@dataclass(frozen=True)
class TrainingConfig:
    """Every option of a training run; the defaults are those of JoyVASA's training program.

    Raises:
        ConfigError: `config_invalid`, and what the parts raise.
    """

    steps: int = 50_000
    batch_size: int = 16  # samples of a step
    # Samples that one device computes at once. A step is the sum of its micro-batches wherever they are computed, so
    # a run gives the same losses on any number of devices where this is set. None: the share of each worker.
    micro_batch_size: int | None = None
    seed: int = 0
    device: str = "auto"
    precision: Precision = "fp32"  # in which the networks compute; weights and losses stay float32
    speech_encoder: str | None = None  # where HuBERT or wav2vec 2.0 comes from: a bundle, or a weight file
    loader_threads: int = 2  # that read clips
    prefetch: int = 4  # micro-batches made ahead
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
                raise _refuse(self, name, "at least 1")
        if not 0 <= self.seed < 2**63:
            raise _refuse(self, "seed", "0 to 2^63 - 1")
        if self.micro_batch_size is not None and (self.micro_batch_size < 1 or self.batch_size % self.micro_batch_size):
            raise _refuse(self, "micro_batch_size", f"a divisor of batch_size, {self.batch_size}")
        if self.network.n_prev_motions < JOINT_FRAMES:
            raise _refuse(self.network, "n_prev_motions", f"at least {JOINT_FRAMES}, to judge the joint", "network.")
        if self.optimizer.warmup_steps >= self.steps:
            raise _refuse(self.optimizer, "warmup_steps", f"less than the {self.steps} steps", "optimizer.")

    @property
    def micro_batches(self) -> int:
        """Of a step."""
        return self.batch_size // (self.micro_batch_size or self.batch_size)

    def for_workers(self, workers: int) -> TrainingConfig:
        """The same options with the micro-batches shared out evenly.

        Raises:
            ConfigError: `config_invalid`.
        """
        share, left = divmod(self.batch_size, workers)
        size = self.micro_batch_size or share
        if left or not size or share % size:
            raise ConfigError(
                "config_invalid",
                f"batch_size {self.batch_size} in micro-batches of {size or share} for {workers} workers; expected "
                "the same number of micro-batches for each: change batch_size, micro_batch_size or --workers",
            )
        return type(self)(**{**{item.name: getattr(self, item.name) for item in fields(self)},
                             "micro_batch_size": size})  # fmt: skip
