"""The README names every option, and only what exists."""

import re
from dataclasses import fields, is_dataclass
from pathlib import Path

from joyvasa.animator import AnimationConfig
from pipelines.engine.config import EngineConfig
from pipelines.runs.config import RayOptions, RunConfig

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def option_names(config: object, prefix: str = "") -> list[str]:
    names = []
    for field in fields(config):
        value = getattr(config, field.name)
        name = f"{prefix}{field.name}"
        names += option_names(value, f"{name}.") if is_dataclass(value) else [name]
    return names


def test_every_option_is_explained():
    assert [name for name in option_names(AnimationConfig()) if f"`{name}`" not in README] == []


def test_every_explained_option_exists():
    table = README.split("\n## Options")[1].split("| option |")[1].split("\n\n")[0]
    explained = {name for row in table.splitlines()[2:] for name in re.findall(r"`([a-z_.0-9]+)`", row.split("|")[1])}
    assert explained <= set(option_names(AnimationConfig()))


def test_the_files_that_it_shows_exist():
    root = Path(__file__).parents[1]
    assert all((root / target).exists() for target in re.findall(r"\]\(([^)#:]+)\)", README))


def test_every_option_of_a_run_is_explained():
    names = [field.name for field in fields(RunConfig) if field.name not in ("animation", "stages", "engine", "ray")]
    names += [f"stages.NAME.{name}" for name in ("batch_size", "workers", "num_cpus", "time_limit_s")]
    names += [f"engine.{field.name}" for field in fields(EngineConfig)]
    names += [f"ray.{field.name}" for field in fields(RayOptions)]
    assert [name for name in names if f"`{name}`" not in README] == []
