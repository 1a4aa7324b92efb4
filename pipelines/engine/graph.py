"""The graph of a pipeline: stages, their inputs, and how each stage runs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from joyvasa.errors import ConfigError
from manifests.record import Record
from stages.base import Fact, Stage

Facts: TypeAlias = Mapping[str, Mapping[str, Fact]]
"""Facts that finished stages reported about a record, by output."""


@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """A stage and how it runs."""

    name: str  # name of the stage in statistics and events; unique in the pipeline
    stage: Stage  # stage object, before `setup`
    # name of its payload and facts in other stages and in outcome rows; by default the name of the stage. Stages with
    # the same output are alternatives, of which each record passes exactly one
    output: str = ""
    # predicate that selects the records that pass the stage, a function of the record alone; None for all
    only: Callable[[Record], bool] | None = None
    inputs: tuple[str, ...] = ()  # outputs whose payloads the stage needs
    # outputs whose facts `share` and `bucket` need; their payloads are not sent to the stage
    after: tuple[str, ...] = ()
    # whether a record that the stage rejects continues without its result; its facts then are `error_code` and `error`.
    # No other stage may need the payload
    optional: bool = False
    # function that returns the content key of a record, from the record and the facts of earlier stages, or None if its
    # result is not shared. Records with the same key wait for one computation and use its result
    share: Callable[[Record, Facts], Hashable | None] | None = None
    cache_entries: int = 1024  # maximum number of shared results to cache; the least recently used are evicted first
    cache_bytes: int = 1 << 30  # maximum size of the cached results, as far as they report `bytes`
    # function that returns a value which must be equal within a batch, from the same arguments as `share`
    bucket: Callable[[Record, Facts], Hashable] | None = None
    batch_size: int = 1  # maximum number of records in one call
    # maximum time that a record waits for its batch to fill while other records may still arrive
    batch_wait_s: float = 0.5
    workers: int = 1  # number of worker processes
    slots: int = 2  # maximum number of batches at a worker: one is running, the others are queued there
    # num_cpus, num_gpus: resources of each worker. A GPU share must be 1/n, so that workers fill the GPU exactly
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    time_limit_s: float = 600.0  # limit for a batch that does not advance; its worker is killed

    def __post_init__(self) -> None:
        object.__setattr__(self, "output", self.output or self.name)
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
            raise self._error("num_gpus", "a whole number or 1/n (0.5, 0.25, 1/3), so that workers fill a GPU")

    @property
    def needs(self) -> tuple[str, ...]:
        """Outputs that must be computed before the stage runs."""
        return (*self.inputs, *self.after)

    def _error(self, field: str, expected: str) -> ConfigError:
        value = getattr(self, field)
        return ConfigError("stage_option", f"stage {self.name}: {field} is {value}; expected {expected}")


def _is_exact_share(num_gpus: float) -> bool:
    if num_gpus >= 1 or num_gpus == 0:
        return num_gpus == int(num_gpus)
    return num_gpus > 0 and abs(1 / num_gpus - round(1 / num_gpus)) < 1e-6


@dataclass(frozen=True)
class Route:
    """The stages that one record passes: one for each output of the pipeline."""

    order: tuple[StageSpec, ...]  # the stages in topological order

    @cached_property
    def producers(self) -> dict[str, StageSpec]:
        """The stage that computes each output."""
        return {spec.output: spec for spec in self.order}

    @cached_property
    def starts(self) -> tuple[StageSpec, ...]:
        """The stages that need no other stage."""
        return tuple(spec for spec in self.order if not spec.needs)

    @cached_property
    def followers(self) -> dict[str, tuple[StageSpec, ...]]:
        """The stages that need the payload or the facts of each output."""
        return {output: tuple(spec for spec in self.order if output in spec.needs) for output in self.producers}

    @cached_property
    def consumers(self) -> dict[str, frozenset[str]]:
        """The outputs of the stages that need the payload of each output."""
        return {
            output: frozenset(other.output for other in self.order if output in other.inputs)
            for output in self.producers
        }


@dataclass(frozen=True)
class Pipeline:
    """An acyclic graph of stages; a record is finished when it has passed all stages of its route.

    Raises:
        ConfigError: `pipeline_empty`, `stage_name` and `stage_output` for duplicates, `stage_input` for an unknown or
            optional input, `pipeline_circle`.
    """

    stages: tuple[StageSpec, ...]  # the stages in any order

    def __post_init__(self) -> None:
        if not self.stages:
            raise ConfigError("pipeline_empty", "the pipeline has no stage; expected at least one")
        if name := _first_duplicate([spec.name for spec in self.stages]):
            raise ConfigError("stage_name", f"two stages are named {name}; expected a name of its own for each")
        if output := _first_duplicate([spec.output for spec in self.stages if spec.only is None]):
            raise ConfigError("stage_output", f"two stages make {output} of all records; expected `only` for each")

        for spec in self.stages:
            optional = [name for name in spec.inputs if any(stage.optional for stage in self.producers.get(name, ()))]
            if optional:
                problem = f"stage {spec.name} needs the payload of {optional[0]}, which is optional"
                raise ConfigError("stage_input", f"{problem}; expected it in `after`, for its facts alone")
            if unknown := [name for name in spec.needs if name not in self.producers]:
                raise ConfigError(
                    "stage_input", f"stage {spec.name} needs {unknown[0]}; expected one of {[*self.producers]}"
                )
        _ = self.order

    @cached_property
    def by_name(self) -> dict[str, StageSpec]:
        """The stages by name."""
        return {spec.name: spec for spec in self.stages}

    @cached_property
    def producers(self) -> dict[str, tuple[StageSpec, ...]]:
        """The stages that compute each output."""
        outputs = dict.fromkeys(spec.output for spec in self.stages)
        return {output: tuple(spec for spec in self.stages if spec.output == output) for output in outputs}

    @cached_property
    def order(self) -> tuple[StageSpec, ...]:
        """The stages in topological order."""
        ordered: dict[str, StageSpec] = {}
        while len(ordered) < len(self.stages):
            done = {output for output, specs in self.producers.items() if all(spec.name in ordered for spec in specs)}
            ready = [spec for spec in self.stages if spec.name not in ordered and done.issuperset(spec.needs)]
            if not ready:
                circle = [spec.name for spec in self.stages if spec.name not in ordered]
                raise ConfigError("pipeline_circle", f"stages {circle} wait for each other; expected no circle")
            ordered |= {spec.name: spec for spec in ready}
        return tuple(ordered.values())

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The outputs in topological order."""
        return tuple(dict.fromkeys(spec.output for spec in self.order))

    @cached_property
    def columns(self) -> dict[str, type]:
        """Columns of the outcome table that the stages declare, with their types."""
        return {
            name: kind
            for spec in self.order
            for name, kind in {**spec.stage.columns, **spec.stage.output_columns}.items()
        }

    @cached_property
    def ancestors(self) -> dict[str, frozenset[str]]:
        """The names of all stages above each stage."""
        ancestors: dict[str, frozenset[str]] = {}
        for spec in self.order:
            parents = [parent.name for output in spec.needs for parent in self.producers[output]]
            ancestors[spec.name] = frozenset(parents).union(*(ancestors[name] for name in parents))
        return ancestors

    def route(self, record: Record) -> Route:
        """Return the stages that a record passes.

        Raises:
            ConfigError: `stage_alternatives` if none or several of the stages with the same output select the record.
        """
        choice = tuple(spec.only(record) for spec in self._selective if spec.only)
        route = self._routes.get(choice)
        if route is None:
            skipped = {spec.name for spec, selected in zip(self._selective, choice, strict=True) if not selected}
            route = Route(tuple(spec for spec in self.order if spec.name not in skipped))
            for output, specs in self.producers.items():
                n_producers = sum(spec in route.order for spec in specs)
                if n_producers != 1:
                    names = ", ".join(spec.name for spec in specs)
                    problem = f"record {record.id}: {n_producers} of the stages that make {output} ({names}) select it"
                    raise ConfigError("stage_alternatives", f"{problem}; expected exactly one")
            self._routes[choice] = route
        return route

    @cached_property
    def _selective(self) -> tuple[StageSpec, ...]:
        return tuple(spec for spec in self.order if spec.only)

    @cached_property
    def _routes(self) -> dict[tuple[bool, ...], Route]:
        """Cache of routes; there are few, one for each combination of selected stages."""
        return {}


def _first_duplicate(names: Sequence[str]) -> str | None:
    return next((name for at, name in enumerate(names) if name in names[:at]), None)
