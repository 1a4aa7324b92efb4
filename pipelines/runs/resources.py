"""How many workers each stage gets, and which share of a GPU."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joyvasa.bundles import open_bundle
from joyvasa.errors import ConfigError, name_hint
from joyvasa.mode import MODES, Mode
from joyvasa.models import RENDERER_ROLES, role_of
from pipelines.engine import executors
from pipelines.engine.executors.base import Executor, ExecutorConfig
from pipelines.engine.graph import Pipeline, StageSpec
from pipelines.runs.config import RunConfig, StageOptions
from stages.base import Stage

LIGHT_BYTES = 64 << 20  # of weights: the published networks have seven times as many
MOST_RENDERERS = 16  # processes, each of which holds PyTorch and the networks; each takes more cores beyond


def stage_name(output: str, mode: str) -> str:
    """Return the name of the stage that makes an output for rows of one mode, with networks of its own."""
    return output if mode == "human" else f"{mode}_{output}"


@dataclass(frozen=True)
class SpecBuilder:
    """Turn what stages declare, and the options that replace it, into the stages of a pipeline.

    On each GPU runs one worker of each stage that has networks. Without a GPU, rendering takes all cores, because it
    needs nearly all of the time and the other stages fit in between. Cores that compute the layers of a small network
    together wait for each other more than they compute, so there each core renders videos of its own.

    Attributes:
        options: options by the name of the stage.
        gpus: number of GPUs of the run; 0 for CPUs alone.
        cores: cores for rendering, see `cores_of`.
        light: whether the networks that render are small, see `renders_lightly`.
    """

    options: Mapping[str, StageOptions]
    gpus: int = 0
    cores: int = 1
    light: bool = False

    def batch_size(self, stage: type[Stage]) -> int:
        """Return the largest number of records in one call of a stage."""
        return self.options.get(stage.name, StageOptions()).batch_size or stage.batch_size

    def build(self, stage: Stage, *, modes: Sequence[str] = ("human",), mode: str = "human", **how: Any) -> StageSpec:
        """Build one stage of a pipeline.

        Args:
            stage: the stage.
            modes: modes for which the pipeline has a stage like this; they divide its share of a GPU.
            mode: mode that this one is for.
            **how: further fields of `StageSpec`.
        """
        declared, name = stage.resources, stage_name(stage.name, mode)
        workers, cpus = (max(1, self.gpus) if declared.workers == "per_gpu" else 1), declared.cpu
        if declared.all_cores and not self.gpus:
            workers = min(self.cores, MOST_RENDERERS) if self.light else 1
            cpus = float(self.cores // workers)
        values = {
            "batch_size": stage.batch_size,
            "workers": workers,
            "num_cpus": cpus,
            "num_gpus": declared.gpu / len(modes) if self.gpus else 0.0,
            "time_limit_s": declared.time_limit_s,
        }
        given = dataclasses.asdict(self.options.get(name, StageOptions()))
        values |= {key: value for key, value in given.items() if value is not None}
        return StageSpec(name=name, stage=stage, output=stage.name, **values, **how)

    def join(self, specs: Sequence[StageSpec]) -> Pipeline:
        """Join stages into a pipeline.

        Raises:
            ConfigError: `config_unknown_option` if an option names no stage of the pipeline, in any mode.
        """
        outputs = dict.fromkeys(spec.output for spec in specs)
        divided = {spec.output for spec in specs if spec.only}
        known = [stage_name(name, mode) for name in outputs for mode in (MODES if name in divided else ("human",))]
        for name in self.options:
            if name not in known:
                hint = name_hint(name, known, prefix="stages.")
                raise ConfigError("config_unknown_option", f"no option stages.{name}; {hint}")
        return Pipeline(tuple(specs))


def renders_lightly(config: RunConfig, modes: Sequence[Mode]) -> bool:
    """Whether the networks that render are small ones."""
    bundle = open_bundle(config.animation.models)
    sizes = [bundle.stated_bytes(role_of(mode, network) for network in RENDERER_ROLES) for mode in modes]
    return all(size is not None and size <= LIGHT_BYTES for size in sizes)


def cores_of(config: RunConfig) -> int:
    """Cores that rendering may take: those of this machine; on a cluster one, as its machines are not known."""
    if config.executor != "local" and config.ray.address:
        return 1
    return usable_cores()


def usable_cores() -> int:
    """Cores of this machine that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpus_to_offer(pipeline: Pipeline) -> int:
    """CPUs that a Ray on this machine says it has: enough for every worker to start.

    A small machine then runs all stages side by side and the operating system shares out its cores.
    """
    wanted = sum(spec.workers * spec.num_cpus for spec in pipeline.stages)
    return max(os.cpu_count() or 1, math.ceil(wanted))


def count_gpus(config: RunConfig) -> int:
    """Count the GPUs that a run may use.

    Raises:
        ConfigError: `gpus_unknown` for a cluster that has none at the moment, as it may be about to grow.
    """
    if config.ray.gpus is not None:
        return config.ray.gpus
    found = executors.count_gpus(config.executor, ExecutorConfig(address=config.ray.address))
    if not found and config.executor != "local" and config.ray.address:
        raise ConfigError(
            "gpus_unknown",
            f"{config.ray.address}: the cluster has no GPU now; expected some: give ray.gpus, the number that it will "
            "have, or ray.gpus=0 to work on CPUs",
        )
    return found


def build_executor(config: RunConfig, pipeline: Pipeline) -> Executor:
    """Build the executor that the options name, large enough for the workers of a pipeline."""
    cluster = config.ray
    options = ExecutorConfig(
        address=cluster.address,
        num_cpus=cpus_to_offer(pipeline) if cluster.address is None else None,
        num_gpus=cluster.gpus if cluster.address is None else None,
        object_store_bytes=cluster.object_store_bytes,
        dashboard=cluster.dashboard,
    )
    return executors.make(config.executor, options)
