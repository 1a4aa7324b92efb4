"""Executors carry batches to workers; `pipelines/engine/README.md` describes how to add one."""

from __future__ import annotations

from importlib import import_module

from joyvasa.errors import ConfigError
from pipelines.engine.executors.base import Executor

EXECUTORS = {
    "local": "pipelines.engine.executors.local:LocalExecutor",
    "ray": "pipelines.engine.executors.ray:RayExecutor",
}
"""Module and class of each executor. Modules are imported on use, so that Ray is needed for `ray` alone."""


def find_executor(name: str) -> type[Executor]:
    """Return the class of an executor by its name in `EXECUTORS`.

    Raises:
        ConfigError: `executor` if the name is unknown.
    """
    check_executor(name)
    module, _, class_name = EXECUTORS[name].partition(":")
    return getattr(import_module(module), class_name)


def check_executor(name: str) -> None:
    """Refuse an unknown executor.

    Raises:
        ConfigError: `executor`.
    """
    if name not in EXECUTORS:
        raise ConfigError("executor", f"executor {name!r} is unknown; expected {' or '.join(EXECUTORS)}")
