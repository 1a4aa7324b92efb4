"""The resources of a run: workers and GPU share of each stage, GPUs and cores to use, the executor."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joyvasa.bundles import open_bundle
from joyvasa.bundles.requirements import RENDERER_ROLES, resolve_role
from joyvasa.errors import ConfigError, suggest_name
from joyvasa.mode import MODES, Mode
from joyvasa.runtime.device import count_usable_cores
from joyvasa.runtime.memory import SMALL_NETWORK_BYTES
from pipelines.engine.executors import find_executor
from pipelines.engine.executors.base import Executor, ExecutorConfig
from pipelines.engine.graph import Pipeline, StageSpec
from pipelines.runs.config import RunConfig, StageOptions
from stages.base import Stage
from stages.media_cache import MediaCacheConfig

MAX_RENDERERS = 16  # each process loads PyTorch and the networks; with more cores, each gets more threads


def stage_name(output: str, mode: str) -> str:
    """Return the name of the stage that computes an output for rows of one mode."""
    return output if mode == "human" else f"{mode}_{output}"


@dataclass(frozen=True)
class SpecBuilder:
    """Build the stages of a pipeline from their declarations and the options that override them.

    Each GPU runs one worker of each stage that has networks. Without a GPU, rendering uses all cores, because it
    accounts for nearly all of the time. Threads that share the layers of a small network mostly wait for each other, so
    with small networks each core renders a separate video.
    """

    config: RunConfig  # options of the run
    run: str  # run folder; an absolute path or URI
    modes: Mapping[Mode, int]  # number of records of each mode that occurs; no stage gets more workers
    gpus: int = 0  # number of GPUs of the run; 0 to run on CPUs
    cores: int = 1  # number of cores for rendering, see `count_rendering_cores`
    light: bool = False  # whether the renderer's networks are small, see `has_light_renderer`

    def batch_size(self, stage: type[Stage]) -> int:
        """Return the maximum number of records in one call of a stage."""
        return self.config.stages.get(stage.name, StageOptions()).batch_size or stage.batch_size

    def build(
        self,
        stage: Stage,
        *,
        mode: Mode | None = None,
        gpu: float | None = None,
        **fields: Any,
    ) -> StageSpec:
        """Build one stage of a pipeline.

        Args:
            stage: the stage.
            mode: mode of the records that pass this stage, which shares its part of a GPU with the stages of the
                other modes; None for all records.
            gpu: share of a GPU; None for the declared one.
            **fields: further fields of `StageSpec`.
        """
        stage.media_cache = MediaCacheConfig(self.run, self.config.media_cache_bytes)
        declared, name = stage.resources, stage_name(stage.name, mode or "human")
        n_records = self.modes[mode] if mode else sum(self.modes.values())
        n_stages = len(self.modes) if mode else 1
        workers, cpus = (max(1, self.gpus) if declared.workers == "per_gpu" else 1), declared.cpu
        if declared.all_cores and not self.gpus:
            workers = min(self.cores, MAX_RENDERERS) if self.light else 1
            cpus = float(self.cores // workers)

        values = {
            "batch_size": stage.batch_size,
            "workers": max(1, min(workers, n_records)),
            "num_cpus": cpus,
            "num_gpus": (declared.gpu if gpu is None else gpu) / n_stages if self.gpus else 0.0,
            "time_limit_s": declared.time_limit_s,
        }
        overrides = dataclasses.asdict(self.config.stages.get(name, StageOptions()))
        values |= {key: value for key, value in overrides.items() if value is not None}
        only = (lambda record: record.mode == mode) if mode else None
        return StageSpec(name=name, stage=stage, output=stage.name, only=only, **values, **fields)

    def join(self, specs: Sequence[StageSpec]) -> Pipeline:
        """Join stages into a pipeline.

        Raises:
            ConfigError: `config_unknown_option` if an option names no stage of the pipeline, in any mode.
        """
        outputs = dict.fromkeys(spec.output for spec in specs)
        per_mode = {spec.output for spec in specs if spec.only}
        names = [stage_name(name, mode) for name in outputs for mode in (MODES if name in per_mode else ("human",))]
        for name in self.config.stages:
            if name not in names:
                hint = suggest_name(name, names, prefix="stages.")
                raise ConfigError("config_unknown_option", f"no option stages.{name}; {hint}")
        return Pipeline(tuple(specs))


def has_light_renderer(config: RunConfig, modes: Iterable[Mode]) -> bool:
    """Return whether the renderer's networks are small."""
    bundle = open_bundle(config.animation.models)
    sizes = [bundle.sum_stated_bytes(resolve_role(mode, network) for network in RENDERER_ROLES) for mode in modes]
    return all(size is not None and size <= SMALL_NETWORK_BYTES for size in sizes)


def count_rendering_cores(config: RunConfig) -> int:
    """Return the number of cores for rendering: those of this machine, or 1 on a cluster, whose nodes are unknown."""
    return 1 if _find_cluster(config) else count_usable_cores()


def _find_cluster(config: RunConfig) -> str | None:
    """Return the address of the cluster that a run uses; None if it runs on this machine."""
    return None if config.executor == "local" else ExecutorConfig(address=config.ray.address).cluster


def count_offered_cpus(pipeline: Pipeline) -> int:
    """Return the number of CPUs that Ray on this machine is configured with: enough for every worker to start.

    A small machine then runs all stages concurrently, and the operating system schedules its cores.
    """
    required = sum(spec.workers * spec.num_cpus for spec in pipeline.stages)
    return max(os.cpu_count() or 1, math.ceil(required))


def count_run_gpus(config: RunConfig) -> int:
    """Count the GPUs that a run may use.

    Raises:
        ConfigError: `gpus_unknown` if a cluster has no GPU at the moment; it may be about to scale up.
    """
    if config.ray.gpus is not None:
        return config.ray.gpus
    n_gpus = find_executor(config.executor).count_gpus(ExecutorConfig(address=config.ray.address))
    if not n_gpus and (cluster := _find_cluster(config)):
        raise ConfigError(
            "gpus_unknown",
            f"{cluster}: the cluster has no GPU now; expected at least one: set ray.gpus to the number that "
            "it will have, or ray.gpus=0 to run on CPUs",
        )
    return n_gpus


def build_executor(config: RunConfig, pipeline: Pipeline) -> Executor:
    """Build the configured executor, with resources for all workers of a pipeline."""
    cluster = config.ray
    executor_config = ExecutorConfig(
        address=cluster.address,
        num_cpus=count_offered_cpus(pipeline) if cluster.address is None else None,
        num_gpus=cluster.gpus if cluster.address is None else None,
        required_cpus=sum(spec.workers * spec.num_cpus for spec in pipeline.stages),
        object_store_bytes=cluster.object_store_bytes,
        dashboard=cluster.dashboard,
    )
    return find_executor(config.executor)(executor_config)
