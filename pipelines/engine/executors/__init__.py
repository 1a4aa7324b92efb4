"""What carries batches to workers. A new executor is one file here and one line in `make`."""

from __future__ import annotations

from joyvasa.errors import ConfigError
from pipelines.engine.executors.base import Executor


def make(name: str, **options: object) -> Executor:
    """Makes an executor by name; its libraries are imported only now.

    Args:
        name: `local` or `ray`.
        options: of `RayConfig`; none for `local`.

    Raises:
        ConfigError: the name is unknown.
    """
    if name == "local":
        from pipelines.engine.executors.local import LocalExecutor

        return LocalExecutor()
    if name == "ray":
        from pipelines.engine.executors.ray import RayConfig, RayExecutor

        return RayExecutor(RayConfig(**options))  # type: ignore[arg-type]
    raise _unknown(name)


def count_gpus(name: str, address: str | None = None) -> int:
    """GPUs that workers can have; asks the cluster if there is one.

    Args:
        name: as for `make`.
        address: of a running Ray cluster.

    Raises:
        ConfigError: the name is unknown.
        EnvironmentFault: no cluster answers at the address.
    """
    if name == "local":
        return 0  # the stages of this process share what it has
    if name == "ray":
        from pipelines.engine.executors import ray

        return ray.count_gpus(address)
    raise _unknown(name)


def _unknown(name: str) -> ConfigError:
    return ConfigError("executor", f"executor {name!r} is unknown; expected local or ray")
