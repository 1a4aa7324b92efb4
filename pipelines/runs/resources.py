"""How many workers each stage gets, and which share of a GPU, where the options leave it open."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence

from joyvasa.bundles import open_bundle
from joyvasa.errors import ConfigError
from joyvasa.mode import Mode
from joyvasa.models import RENDERER_ROLES, role_of
from pipelines.engine import executors
from pipelines.engine.executors.base import Executor, ExecutorConfig
from pipelines.engine.graph import Pipeline
from pipelines.runs.config import RunConfig, StageOptions, StagesOptions

# Of a GPU, by the stages of `joyvasa prepare`, which run without the others.
PREPARE_SHARES = {"watch": 1 / 4, "extract": 1 / 2}
RENDERING = ("render", "animal_render")
LIGHT_BYTES = 64 << 20  # of weights: the published networks have seven times as many
MOST_RENDERERS = 16  # processes, each of which holds PyTorch and the networks; each takes more cores beyond


def stage_name(output: str, mode: str) -> str:
    """The name of the stage that makes an output for rows of one mode, with networks of its own."""
    return output if mode == "human" else f"{mode}_{output}"


def gpu_shares(modes: Sequence[str]) -> Mapping[str, float]:
    """Shares of a GPU by stage, which fill it exactly; each is one n-th.

    Rendering takes by far the longest, then sampling. Stages of several modes divide a share.
    """
    shares = {"speech": 1 / 8, "motion": 1 / 4}
    for mode in modes:
        shares[stage_name("portrait", mode)] = 1 / 8 / len(modes)
        shares[stage_name("render", mode)] = 1 / 2 / len(modes)
    return shares


def sized(
    options: StagesOptions, modes: Sequence[str], gpus: int, *, cores: int = 1, light: bool = False
) -> StagesOptions:
    """Fills in what is left open.

    On each GPU works one worker of each stage that has networks. Without one, rendering takes all cores: it needs
    nearly all of the time, and the other stages fit in between. Cores that compute the layers of a small network
    together wait for each other more than they compute, so each renders videos of its own there.

    Args:
        options: as configured.
        modes: that the manifest has.
        gpus: to work on; 0 for the CPU alone.
        cores: to render with, see `cores_of`.
        light: whether networks that render are small, see `renders_lightly`.
    """
    renderers = min(cores, MOST_RENDERERS) if light else 1
    shares = {**gpu_shares(modes), **PREPARE_SHARES}
    filled = {}
    for field in dataclasses.fields(options):
        stage: StageOptions = getattr(options, field.name)
        share = shares.get(field.name, 0.0)
        num_gpus = stage.num_gpus if stage.num_gpus is not None else (share if gpus else 0.0)
        keeps_pace = share or field.name == "score"  # a worker measures about as fast as a GPU renders
        usual, threads = (max(1, gpus) if keeps_pace else 1), 1
        if not gpus and field.name in RENDERING:
            usual, threads = renderers, cores // renderers
        workers = stage.workers if stage.workers is not None else usual
        num_cpus = stage.num_cpus if stage.num_cpus is not None else float(threads)
        filled[field.name] = dataclasses.replace(stage, workers=workers, num_cpus=num_cpus, num_gpus=num_gpus)
    return StagesOptions(**filled)


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
