"""Executors carry batches to workers; `pipelines/engine/README.md` describes how to add one."""

from __future__ import annotations

from importlib import import_module

from joyvasa.errors import ConfigError
from pipelines.engine.executors.base import Executor, ExecutorConfig

EXECUTORS = {
    "local": "pipelines.engine.executors.local:LocalExecutor",
    "ray": "pipelines.engine.executors.ray:RayExecutor",
}
"""Module and class of each executor. Modules are imported on use, so that Ray is needed for `ray` alone."""


def create_executor(name: str, config: ExecutorConfig | None = None) -> Executor:
    """Create an executor.

    Args:
        name: name in `EXECUTORS`.
        config: where the workers run.

    Raises:
        ConfigError: the name is unknown.
    """
    return _executor_class(name)(config)


def count_gpus(name: str, config: ExecutorConfig | None = None) -> int:
    """Count the GPUs that workers of an executor can use; asks the cluster if there is one.

    Args:
        name: name in `EXECUTORS`.
        config: where the workers run.

    Raises:
        ConfigError: the name is unknown.
        EnvironmentFault: no cluster answers at the address.
    """
    return _executor_class(name).count_gpus(config or ExecutorConfig())


def check_executor(name: str) -> None:
    """Refuse an unknown executor.

    Raises:
        ConfigError: `executor`.
    """
    if name not in EXECUTORS:
        raise ConfigError("executor", f"executor {name!r} is unknown; expected {' or '.join(EXECUTORS)}")


def _executor_class(name: str) -> type[Executor]:
    check_executor(name)
    module, _, class_name = EXECUTORS[name].partition(":")
    return getattr(import_module(module), class_name)
