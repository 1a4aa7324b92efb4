"""How many workers each stage gets, and which share of a GPU, where the options leave it open."""

from __future__ import annotations

import dataclasses
import math
import os

from pipelines.graph import Pipeline
from pipelines.run_config import StageOptions, StagesOptions

# Shares that fill a GPU exactly: rendering takes by far the longest, then sampling. Each is one n-th.
GPU_SHARES = {"portrait": 1 / 8, "speech": 1 / 8, "motion": 1 / 4, "render": 1 / 2, "score": 0.0, "commit": 0.0}


def sized(options: StagesOptions, gpus: int) -> StagesOptions:
    """Fills in what is left open: on each GPU one worker of each stage that has networks.

    Args:
        options: as configured.
        gpus: to work on; 0 for the CPU alone.
    """
    filled = {}
    for name, share in GPU_SHARES.items():
        stage: StageOptions = getattr(options, name)
        num_gpus = stage.num_gpus if stage.num_gpus is not None else (share if gpus else 0.0)
        workers = stage.workers if stage.workers is not None else (max(1, gpus) if share else 1)
        filled[name] = dataclasses.replace(stage, workers=workers, num_gpus=num_gpus)
    return StagesOptions(**filled)


def cpus_to_offer(pipeline: Pipeline) -> int:
    """CPUs that a Ray on this machine says it has: enough for every worker to start.

    A small machine then runs all stages side by side and the operating system shares out its cores.
    """
    wanted = sum(spec.workers * spec.num_cpus for spec in pipeline.stages)
    return max(os.cpu_count() or 1, math.ceil(wanted))
