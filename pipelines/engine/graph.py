"""The shape of a pipeline: stages, who feeds whom, and how each one is run."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from joyvasa.errors import ConfigError
from manifests.record import Record
from stages.base import Fact, Stage

Facts: TypeAlias = Mapping[str, Mapping[str, Fact]]
"""What the stages that a record has passed reported about it, by output."""


@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """One stage and how it is run.

    Attributes:
        name: unique in the pipeline; of its workers, in statistics and events.
        stage: the stage, not set up.
        output: under which name its payload and facts are known to other stages and in the rows; its own name by
            default. Stages with one output are alternatives, of which each record passes exactly one.
        only: which records it is for; `None` for all. A function of the record alone.
        inputs: outputs whose payloads it needs.
        after: outputs whose facts `share` and `bucket` need; their payloads are not sent to it.
        optional: a record that it rejects goes on without its result; the facts say why, as `error_code` and `error`.
            No other stage may need its payload.
        share: content key of a record, from the record and the facts of the stages above it, or `None` for a record of
            its own. Records with the same key wait for one computation and use its result.
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
    output: str = ""
    only: Callable[[Record], bool] | None = None
    inputs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    optional: bool = False
    share: Callable[[Record, Facts], Hashable | None] | None = None
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
            raise self._error("num_gpus", "a whole number or one n-th (0.5, 0.25, 1/3), so that workers fill a GPU")

    @property
    def needs(self) -> tuple[str, ...]:
        """Outputs that must be there before it."""
        return (*self.inputs, *self.after)

    def _error(self, field: str, expected: str) -> ConfigError:
        found = getattr(self, field)
        return ConfigError("stage_option", f"stage {self.name}: {field} is {found}; expected {expected}")


def _is_exact_share(num_gpus: float) -> bool:
    if num_gpus >= 1 or num_gpus == 0:
        return num_gpus == int(num_gpus)
    return num_gpus > 0 and abs(1 / num_gpus - round(1 / num_gpus)) < 1e-6


@dataclass(frozen=True)
class Route:
    """The stages that one record passes: one for each output of the pipeline.

    Attributes:
        order: the stages, each after all it needs.
    """

    order: tuple[StageSpec, ...]

    @cached_property
    def makers(self) -> dict[str, StageSpec]:
        """The stage of each output."""
        return {spec.output: spec for spec in self.order}

    @cached_property
    def consumers(self) -> dict[str, frozenset[str]]:
        """For each output the outputs of the stages that need its payload."""
        return {
            output: frozenset(other.output for other in self.order if output in other.inputs) for output in self.makers
        }


@dataclass(frozen=True)
class Pipeline:
    """Stages that feed each other without a circle; a record is finished when it has passed all that are for it.

    Attributes:
        stages: in any order.

    Raises:
        ConfigError: two stages of one name, two stages of one output that are for all records, an input that no stage
            has, a circle, or no stage at all.
    """

    stages: tuple[StageSpec, ...]

    def __post_init__(self) -> None:
        if not self.stages:
            raise ConfigError("pipeline_empty", "the pipeline has no stage; expected at least one")
        if name := _double([spec.name for spec in self.stages]):
            raise ConfigError("stage_name", f"two stages are named {name}; expected a name of its own for each")
        if output := _double([spec.output for spec in self.stages if spec.only is None]):
            raise ConfigError("stage_output", f"two stages make {output} of all records; expected `only` for each")
        for spec in self.stages:
            if needed := [name for name in spec.inputs if any(maker.optional for maker in self.makers.get(name, ()))]:
                found = f"stage {spec.name} needs the payload of {needed[0]}, which is optional"
                raise ConfigError("stage_input", f"{found}; expected it in `after`, for its facts alone")
            if unknown := [name for name in spec.needs if name not in self.makers]:
                raise ConfigError(
                    "stage_input", f"stage {spec.name} needs {unknown[0]}; expected one of {[*self.makers]}"
                )
        _ = self.order

    @cached_property
    def by_name(self) -> dict[str, StageSpec]:
        """The stages by name."""
        return {spec.name: spec for spec in self.stages}

    @cached_property
    def makers(self) -> dict[str, tuple[StageSpec, ...]]:
        """The stages of each output."""
        outputs = dict.fromkeys(spec.output for spec in self.stages)
        return {output: tuple(spec for spec in self.stages if spec.output == output) for output in outputs}

    @cached_property
    def order(self) -> tuple[StageSpec, ...]:
        """The stages, each after all it needs."""
        ordered: dict[str, StageSpec] = {}
        while len(ordered) < len(self.stages):
            made = {output for output, specs in self.makers.items() if all(spec.name in ordered for spec in specs)}
            ready = [spec for spec in self.stages if spec.name not in ordered and made.issuperset(spec.needs)]
            if not ready:
                circle = [spec.name for spec in self.stages if spec.name not in ordered]
                raise ConfigError("pipeline_circle", f"stages {circle} wait for each other; expected no circle")
            ordered |= {spec.name: spec for spec in ready}
        return tuple(ordered.values())

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The outputs, each after all it needs."""
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
        """For each stage the names of all stages above it."""
        above: dict[str, frozenset[str]] = {}
        for spec in self.order:
            makers = [maker.name for output in spec.needs for maker in self.makers[output]]
            above[spec.name] = frozenset(makers).union(*(above[name] for name in makers))
        return above

    def route(self, record: Record) -> Route:
        """The stages that a record passes.

        Raises:
            ConfigError: `stage_alternatives` if none or several of the stages of one output are for the record.
        """
        choice = tuple(spec.only(record) for spec in self._choosing if spec.only)
        route = self._routes.get(choice)
        if route is None:
            left_out = {spec.name for spec, chosen in zip(self._choosing, choice, strict=True) if not chosen}
            route = Route(tuple(spec for spec in self.order if spec.name not in left_out))
            for output, specs in self.makers.items():
                n_makers = sum(spec in route.order for spec in specs)
                if n_makers != 1:
                    names = ", ".join(spec.name for spec in specs)
                    found = f"record {record.id}: {n_makers} of the stages that make {output} ({names}) are for it"
                    raise ConfigError("stage_alternatives", f"{found}; expected exactly one")
            self._routes[choice] = route
        return route

    @cached_property
    def _choosing(self) -> tuple[StageSpec, ...]:
        return tuple(spec for spec in self.order if spec.only)

    @cached_property
    def _routes(self) -> dict[tuple[bool, ...], Route]:
        """Those met so far; as many as there are kinds of records."""
        return {}


def _double(names: Sequence[str]) -> str | None:
    """A name that occurs twice."""
    return next((name for at, name in enumerate(names) if name in names[:at]), None)
