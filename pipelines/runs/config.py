"""Every option of a run over a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from joyvasa.errors import ConfigError
from joyvasa.metrics import BUNDLE, NAMES, check_name
from joyvasa.models import AnimationConfig
from joyvasa.training.clip_config import ClipConfig
from manifests.run.manifest_file import SHARD_RECORDS
from pipelines.engine.config import EngineConfig
from pipelines.engine.executors import check_name as check_executor


@dataclass(frozen=True)
class StageOptions:
    """What replaces the declaration of one stage, see `stages.base.Stage`; None keeps what the stage declares."""

    batch_size: int | None = None  # largest number of records in one call
    workers: int | None = None  # processes
    num_cpus: float | None = None  # cores of each worker, and so its threads
    num_gpus: float | None = None  # GPUs of each worker: a whole number, or one n-th
    time_limit_s: float | None = None  # for one batch; a worker that takes longer is killed


@dataclass(frozen=True)
class RayOptions:
    """Where Ray is."""

    address: str | None = None  # of a running cluster: auto, host:6379; none starts Ray on this machine
    gpus: int | None = None  # to work on; none: those that the cluster has, or this machine
    dashboard: bool = False
    object_store_bytes: int | None = None  # memory for payloads where Ray is started here


@dataclass(frozen=True)
class RunConfig:
    """Every option of a run.

    Raises:
        ConfigError: `config_invalid`, and what the parts raise.
    """

    animation: AnimationConfig = field(default_factory=AnimationConfig)
    executor: str = "ray"  # local: in this process, for a debugger or without Ray
    determinism: Literal["fast", "strict"] = "fast"  # strict: the same bytes whatever shares a batch; slower
    save_motion: bool = False  # keep each motion as a file beside the videos
    share_motion: bool = False  # one motion per content of a recording and seed, played on all portraits that use it
    skip_bad_rows: bool = False  # run the good rows of a manifest that has bad ones
    metrics: Literal["all", "none"] | tuple[str, ...] = "all"  # those without weights have null and a reason
    metric_models: str = BUNDLE  # bundle with the weights of metrics: a name or a folder
    metric_device: str = "auto"  # that they work on
    shard_size: int = SHARD_RECORDS  # rows that become visible together
    clips: ClipConfig = field(default_factory=ClipConfig)  # of `joyvasa prepare`
    stages: Mapping[str, StageOptions] = field(default_factory=dict)  # by the name of the stage
    engine: EngineConfig = field(default_factory=EngineConfig)
    ray: RayOptions = field(default_factory=RayOptions)

    def __post_init__(self) -> None:
        check_executor(self.executor)
        if self.shard_size < 1:
            raise ConfigError("config_invalid", f"shard_size is {self.shard_size}; expected at least 1")
        if self.animation.mode != "human":
            found = f"animation.mode is {self.animation.mode}, which a run takes from each row"
            raise ConfigError("config_invalid", f"{found}; expected the column mode in the manifest: name it there")
        for name in self.metric_names:
            check_name(name)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics that are wanted, each once."""
        if isinstance(self.metrics, str):
            return NAMES if self.metrics == "all" else ()
        return tuple(dict.fromkeys(self.metrics))
