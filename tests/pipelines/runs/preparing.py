"""Small runs that prepare a data set."""

from joyvasa.config import load_config
from pipelines.runs.config import RunConfig

SETTINGS = ("executor=local", "animation.models=random", "animation.device=cpu", "clips.min_s=2")


def make_config(*settings: str) -> RunConfig:
    return load_config(RunConfig, settings=[*SETTINGS, "shard_size=4", *settings])
