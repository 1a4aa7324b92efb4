"""The shape of a pipeline: stages, who feeds whom, and how each one is run."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from joyvasa.errors import ConfigError
from stages.base import Fact, Record, Stage

Facts: TypeAlias = Mapping[str, Mapping[str, Fact]]
"""What the stages that a record has passed reported about it, by the name of the stage."""


@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """One stage and how it is run.

    Attributes:
        name: unique in the pipeline.
        stage: the stage, not set up.
        inputs: names of the stages whose payloads it needs.
        share: content key of a record, or `None` for a record of its own. Records with the same key wait for one
            computation and use its result. A function of the record alone.
        cache_entries: results kept for records to come, least recently used out first.
        cache_bytes: the same by size, as far as results report `bytes`.
        bucket: what must be equal within a batch, from the record and the facts of the stages above it.
        batch_size: most records of one call.
        batch_wait_s: how long a record may wait for its batch to fill while others may still come.
        workers: how many processes run the stage.
        slots: batches a worker holds: one that runs, the others on their way to it.
        num_cpus, num_gpus: of each worker. A share of a GPU must be one n-th, so that workers fill it exactly.
        time_limit_s: for one batch; a worker that takes longer hangs and is killed.
    """

    name: str
    stage: Stage
    inputs: tuple[str, ...] = ()
    share: Callable[[Record], Hashable | None] | None = None
    cache_entries: int = 1024
    cache_bytes: int = 1 << 30
    bucket: Callable[[Record, Facts], Hashable] | None = None
    batch_size: int = 1
    batch_wait_s: float = 0.5
    workers: int = 1
    slots: int = 2
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    time_limit_s: float = 600.0

    def __post_init__(self) -> None:
        for field in ("batch_size", "workers", "slots", "cache_entries", "cache_bytes"):
            if getattr(self, field) < 1:
                raise self._error(field, "at least 1")
        if self.batch_wait_s < 0:
            raise self._error("batch_wait_s", "0 or more")
        if self.time_limit_s <= 0:
            raise self._error("time_limit_s", "more than 0")
        if self.num_cpus < 0:
            raise self._error("num_cpus", "0 or more")
        if not _is_exact_share(self.num_gpus):
            raise self._error("num_gpus", "a whole number or one n-th (0.5, 0.25, 1/3), so that workers fill a GPU")

    def _error(self, field: str, expected: str) -> ConfigError:
        found = getattr(self, field)
        return ConfigError("stage_option", f"stage {self.name}: {field} is {found}; expected {expected}")


def _is_exact_share(num_gpus: float) -> bool:
    if num_gpus >= 1 or num_gpus == 0:
        return num_gpus == int(num_gpus)
    return num_gpus > 0 and abs(1 / num_gpus - round(1 / num_gpus)) < 1e-6


@dataclass(frozen=True)
class Pipeline:
    """Stages that feed each other without a circle; a record is finished when it has passed all of them.

    Attributes:
        stages: in any order.

    Raises:
        ConfigError: two stages of one name, an input that no stage has, a circle, or no stage at all.
    """

    stages: tuple[StageSpec, ...]

    def __post_init__(self) -> None:
        if not self.stages:
            raise ConfigError("pipeline_empty", "the pipeline has no stage; expected at least one")
        if len(self.by_name) < len(self.stages):
            names = [spec.name for spec in self.stages]
            double = next(name for name in names if names.count(name) > 1)
            raise ConfigError("stage_name", f"two stages are named {double}; expected a name of its own for each")
        for spec in self.stages:
            if unknown := [name for name in spec.inputs if name not in self.by_name]:
                raise ConfigError(
                    "stage_input", f"stage {spec.name} needs {unknown[0]}; expected one of {[*self.by_name]}"
                )
        _ = self.order

    @cached_property
    def by_name(self) -> dict[str, StageSpec]:
        """The stages by name."""
        return {spec.name: spec for spec in self.stages}

    @cached_property
    def order(self) -> tuple[StageSpec, ...]:
        """The stages, each after all it needs."""
        ordered: dict[str, StageSpec] = {}
        while len(ordered) < len(self.stages):
            ready = [s for s in self.stages if s.name not in ordered and all(name in ordered for name in s.inputs)]
            if not ready:
                circle = [spec.name for spec in self.stages if spec.name not in ordered]
                raise ConfigError("pipeline_circle", f"stages {circle} wait for each other; expected no circle")
            ordered |= {spec.name: spec for spec in ready}
        return tuple(ordered.values())

    @cached_property
    def consumers(self) -> dict[str, tuple[str, ...]]:
        """For each stage the stages that need its payload."""
        return {
            spec.name: tuple(other.name for other in self.order if spec.name in other.inputs) for spec in self.stages
        }

    @cached_property
    def ancestors(self) -> dict[str, frozenset[str]]:
        """For each stage all stages above it."""
        above: dict[str, frozenset[str]] = {}
        for spec in self.order:
            above[spec.name] = frozenset(spec.inputs).union(*(above[name] for name in spec.inputs))
        return above
