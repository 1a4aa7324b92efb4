"""How many workers each stage gets, and which share of a GPU, where the options leave it open."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence

from pipelines.graph import Pipeline
from pipelines.run_config import RunConfig, StageOptions, StagesOptions

# Of a GPU, by the stages of `joyvasa prepare`, which run without the others.
PREPARE_SHARES = {"watch": 1 / 4, "extract": 1 / 2}
RENDERING = ("render", "animal_render")


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


def sized(options: StagesOptions, modes: Sequence[str], gpus: int, *, cores: int = 1) -> StagesOptions:
    """Fills in what is left open.

    On each GPU works one worker of each stage that has networks. Without one, rendering takes all cores: it needs
    nearly all of the time, and the other stages fit in between.

    Args:
        options: as configured.
        modes: that the manifest has.
        gpus: to work on; 0 for the CPU alone.
        cores: that a worker may take, see `cores_of`.
    """
    shares = {**gpu_shares(modes), **PREPARE_SHARES}
    filled = {}
    for field in dataclasses.fields(options):
        stage: StageOptions = getattr(options, field.name)
        share = shares.get(field.name, 0.0)
        num_gpus = stage.num_gpus if stage.num_gpus is not None else (share if gpus else 0.0)
        keeps_pace = share or field.name == "score"  # a worker measures about as fast as a GPU renders
        workers = stage.workers if stage.workers is not None else (max(1, gpus) if keeps_pace else 1)
        threads = cores if not gpus and field.name in RENDERING else 1
        num_cpus = stage.num_cpus if stage.num_cpus is not None else float(threads)
        filled[field.name] = dataclasses.replace(stage, workers=workers, num_cpus=num_cpus, num_gpus=num_gpus)
    return StagesOptions(**filled)


def cores_of(config: RunConfig) -> int:
    """Cores that one worker may take: those of this machine; on a cluster one, as its machines are not known."""
    if config.executor == "ray" and config.ray.address:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpus_to_offer(pipeline: Pipeline) -> int:
    """CPUs that a Ray on this machine says it has: enough for every worker to start.

    A small machine then runs all stages side by side and the operating system shares out its cores.
    """
    wanted = sum(spec.workers * spec.num_cpus for spec in pipeline.stages)
    return max(os.cpu_count() or 1, math.ceil(wanted))
