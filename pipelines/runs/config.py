"""The options of a run over a manifest, and the columns that set options of the method for their row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from joyvasa.bundles import Bundle, list_bundle_names
from joyvasa.bundles.requirements import require_controls
from joyvasa.config import Options, apply_options
from joyvasa.errors import ConfigError
from joyvasa.metrics import METRIC_NAMES, METRICS_BUNDLE, check_metric_name
from joyvasa.mode import MODES
from joyvasa.options import AnimationConfig
from joyvasa.training.clip_config import ClipConfig
from manifests.option_columns import OptionColumns
from manifests.run.manifest_file import SHARD_RECORDS
from manifests.speech import Voices
from pipelines.engine.config import EngineConfig
from pipelines.engine.executors import check_executor
from stages.media_cache import CACHE_BYTES
from stages.record_options import list_animation_options, list_record_options
from stages.speak import describe_voices

MIN_OBJECT_STORE_BYTES = 75 * 2**20  # Ray starts no smaller one


@dataclass(frozen=True)
class StageOptions:
    """Options that override the declarations of one stage, see `stages.base.Stage`; None keeps the declared value."""

    batch_size: int | None = None  # largest number of records in one call
    workers: int | None = None  # number of worker processes
    num_cpus: float | None = None  # cores of each worker, and so the number of its threads
    num_gpus: float | None = None  # GPUs of each worker: a whole number, or 1/n
    time_limit_s: float | None = None  # limit for a batch that reports no progress, seconds; its worker is killed


@dataclass(frozen=True)
class RayOptions:
    """The Ray cluster of a run."""

    # address of a running cluster: `auto`, `host:6379`; null: `RAY_ADDRESS` if set, else start Ray on this machine
    address: str | None = None
    # GPUs to work on; null: those of the cluster now, else of this machine. Set it if the cluster is to grow
    gpus: int | None = None
    dashboard: bool = False  # start Ray's dashboard, where Ray is started here
    object_store_bytes: int | None = None  # size of the object store, where Ray is started here; null: Ray's default

    def __post_init__(self) -> None:
        for name, lowest in (("gpus", 0), ("object_store_bytes", MIN_OBJECT_STORE_BYTES)):
            value = getattr(self, name)
            if value is not None and value < lowest:
                raise ConfigError("config_invalid", f"ray.{name} is {value}; expected at least {lowest}, or null")


@dataclass(frozen=True)
class RunConfig:
    """The options of a run.

    Raises:
        ConfigError: `config_invalid`, and the errors of the nested options.
    """

    animation: AnimationConfig = field(default_factory=AnimationConfig)
    executor: str = "ray"  # `ray`, or `local`: in this process, for a debugger or without Ray
    # `strict`: output is bit-identical however records are batched; slower
    determinism: Literal["fast", "strict"] = "fast"
    save_motion: bool = False  # save the motion of each record as a file next to the videos
    # sample one motion per recording and seed, and play it on all portraits that use it; rows without a seed get one
    # from the content of the recording
    share_motion: bool = False
    # speak the texts of rows with a column `text` and neither recording nor motion: `flite`, `pico`, or the command of
    # another speech synthesizer, with `{text}` for the text file to read, `{sound}` for the WAV file to write, and, if
    # it has several voices, `{voice}`
    tts: str | None = None
    tts_voice: str | None = None  # voice of rows whose column `voice` is empty; null: the default of the synthesizer
    skip_bad_rows: bool = False  # run the good rows of a manifest that has bad ones
    where: tuple[str, ...] = ()  # conditions on columns of the manifest; the run uses the rows that meet all of them
    limit: int | None = None  # largest number of rows that the run uses, the first that meet the conditions
    # metrics to compute for each video; a metric whose weights are missing gives null and a reason
    metrics: Literal["all", "none"] | tuple[str, ...] = "all"
    metric_models: str = METRICS_BUNDLE  # bundle with the weights of metrics: a name or a folder
    # device of the metrics; with Ray, workers of `score` see a GPU only if `stages.score.num_gpus` gives them a share
    metric_device: str = "auto"
    shard_size: int = SHARD_RECORDS  # rows per shard; the videos of a shard become visible together
    # size of the cache on each machine for media that are no local files: URIs, members of archives, cells of tables
    media_cache_bytes: int = CACHE_BYTES
    clips: ClipConfig = field(default_factory=ClipConfig)  # of `joyvasa prepare`
    stages: Mapping[str, StageOptions] = field(default_factory=dict)  # by the name of the stage
    engine: EngineConfig = field(default_factory=EngineConfig)
    ray: RayOptions = field(default_factory=RayOptions)

    def __post_init__(self) -> None:
        check_executor(self.executor)
        if self.shard_size < 1:
            raise ConfigError("config_invalid", f"shard_size is {self.shard_size}; expected at least 1")
        _ = self.voices
        if self.media_cache_bytes < 0:
            raise ConfigError("config_invalid", f"media_cache_bytes is {self.media_cache_bytes}; expected 0 or more")
        if self.limit is not None and self.limit < 1:
            raise ConfigError("config_invalid", f"limit is {self.limit}; expected at least 1")
        if self.animation.mode != "human":
            problem = f"animation.mode is {self.animation.mode}, but a run reads the mode of each row"
            raise ConfigError("config_invalid", f"{problem}; expected the column mode in the manifest: set it there")
        for name in self.metric_names:
            check_metric_name(name)

    @property
    def voices(self) -> Voices | None:
        """Voices that speak the texts of rows; None if texts are not spoken.

        Raises:
            ConfigError: `config_invalid`.
        """
        return describe_voices(self.tts, self.tts_voice)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of the selected metrics, without duplicates."""
        if isinstance(self.metrics, str):
            return METRIC_NAMES if self.metrics == "all" else ()
        return tuple(dict.fromkeys(self.metrics))

    def with_absolute_paths(self) -> RunConfig:
        """Return the options with absolute paths of model folders, which are valid in any working directory."""
        animation = replace(self.animation, models=_resolve_models(self.animation.models))
        return replace(self, animation=animation, metric_models=_resolve_models(self.metric_models))


def _resolve_models(models: str) -> str:
    return models if models in list_bundle_names() else str(Path(models).expanduser().resolve())


def build_option_columns(config: AnimationConfig, bundle: Bundle | None = None) -> OptionColumns:
    """Return the columns that set options, with the values of a configuration as defaults.

    Args:
        config: options of the run.
        bundle: bundle that must be able to apply the controls of each row; None to check ranges alone.
    """
    by_mode: dict[str, AnimationConfig] = {mode: config.for_mode(mode) for mode in MODES}

    def check(mode: str, options: Options) -> None:
        animation = apply_options(by_mode[mode], options)
        if bundle:
            require_controls(animation, bundle)

    return OptionColumns(list_record_options(config), list_animation_options(config), check)
