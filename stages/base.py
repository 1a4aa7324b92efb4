"""Interface of a stage: its inputs and its outcomes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Generic, Literal, TypeAlias, TypeVar

from joyvasa.errors import InputWarning
from manifests.record import Record
from stages.media_cache import MediaCacheConfig

Fact: TypeAlias = "int | float | str | bool | None"
"""A small value about a record that leaves the worker: a count, a duration, a hash, a file name. Never a tensor."""


@dataclass(frozen=True)
class Item:
    """Input of a stage for one record."""

    # the record. If records share a result, the stage gets one of them and may use only the columns that the sharing
    # key covers
    record: Record
    # payloads, by output of the upstream stage. Their arrays may be read-only
    inputs: Mapping[str, Any] = field(default_factory=dict)


class FailureKind(StrEnum):
    """Kind of a failure; decides whether the record is retried."""

    BAD_INPUT = "bad_input"  # permanent: the record fails without a retry
    IO = "io"  # a file or service did not answer: retried with back-off, then the record fails
    OUT_OF_MEMORY = "out_of_memory"  # retried in a smaller batch, then quarantined
    POISON = "poison"  # an invalid result (NaN) or an unexpected error: quarantined
    BROKEN = "broken"  # the process is unusable (its GPU context failed): handled like a crash of the worker
    STOP = "stop"  # no record can succeed (disk full, read-only folder, invalid option): the run stops


@dataclass(frozen=True)
class Ok:
    """Successful outcome of a stage for one record."""

    # input of the stages downstream; any object that pickles, or None. Large data should be NumPy arrays, which are
    # transferred without a copy
    payload: Any = None
    # small values for buckets, statistics and the outcome row. `bytes`, the size of the payload, counts towards the
    # memory limit of the run; amounts are added up in the statistics
    facts: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """Failure of a stage for one record."""

    kind: FailureKind  # kind of the failure
    code: str  # stable code, lower case with underscores, for example `audio_unreadable`
    sentence: str  # one sentence that names the object, what was found, what was expected and what to do
    retry_after_s: float = 0.0  # shortest wait before a retry that a server asks for, seconds


ConfigT = TypeVar("ConfigT")
Outcome: TypeAlias = "Ok | Failed"


WorkUnit: TypeAlias = Literal["record", "portrait", "second", "distinct_second", "frame"]
"""Unit in which the cost of a stage is measured and estimated; see `manifests.estimate`."""


ProgressCallback: TypeAlias = Callable[[float, float], None]
"""Callback of a running batch: finished fraction, 0 to 1, and amount of finished work in the unit of the stage."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Resources of the workers of a stage; options `stages.<name>.*` override them."""

    cpu: float = 1.0  # cores per worker
    # GPUs per worker, 1/n or a whole number; used if the run has GPUs. The shares of a pipeline fill a GPU
    gpu: float = 0.0
    workers: Literal["one", "per_gpu"] = "one"  # number of workers: `one`, or `per_gpu` for one per GPU of the run
    all_cores: bool = False  # whether the stage uses all cores of the machine if the run has no GPU
    time_limit_s: float = 1800.0  # limit for a batch that reports no progress, seconds; its worker is killed


class Stage(ABC, Generic[ConfigT]):
    """Base class of stages, independent of the executor that runs them.

    A stage declares its name and its resources, is built from a frozen configuration dataclass, is sent to its workers,
    and loads its models there:

        class PortraitStage(Stage[PortraitConfig]):
            name = "portrait"
            resources = Resources(gpu=1 / 8, workers="per_gpu")
            batch_size = 8
            columns = {"n_faces": int}

            def setup(self) -> None:
                self.extractor = open_bundle(self.config.models).load_network("appearance_feature_extractor")

            def run(self, batch: Sequence[Item]) -> list[Outcome]:
                return [self._extract(item) for item in batch]

    Attributes:
        name: name in the pipeline, in options, in statistics, and in the columns of the outcome table.
        resources: resources of its workers.
        batch_size: maximum number of records in one call.
        unit: unit in which its cost is measured.
        columns: facts that become columns of the outcome table, with their types. If several stages of a pipeline
            declare a column, the first value wins.
        output_columns: the same for facts about the output files of a record; null if the record fails in a later
            stage.
        media_cache: cache for copies of media that are no local files; set by the pipeline. None keeps no copies.
    """

    name: ClassVar[str] = ""
    resources: ClassVar[Resources] = Resources()
    batch_size: ClassVar[int] = 8
    unit: ClassVar[WorkUnit] = "record"
    columns: ClassVar[Mapping[str, type]] = {}
    output_columns: ClassVar[Mapping[str, type]] = {}
    media_cache: MediaCacheConfig | None = None

    on_progress: ProgressCallback | None = None  # set by the worker while a batch runs

    def __init__(self, config: ConfigT = None) -> None:  # type: ignore[assignment]  (some stages have no options)
        self.config = config

    def copy_declaration(self, stage: Stage) -> None:
        """Copy the declaration of another stage, for a stage that wraps it."""
        names = ("name", "resources", "batch_size", "unit", "columns", "output_columns")
        vars(self).update({name: getattr(stage, name) for name in names})

    def setup(self) -> None:
        """Load models and open files for `run`; called once in every worker, before the first batch.

        Raises:
            Exception: any error; its text is shown to the user if no worker of the stage can start.
        """

    @abstractmethod
    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Process a batch.

        May be called again for the same record, after a crash or if a payload was lost, and must then return the same
        result.

        Args:
            batch: one or more items. The composition of batches is arbitrary and must not affect results.

        Returns:
            One outcome per item, in the order of the batch. Bad input is an outcome, not an exception; an exception
            fails the whole batch, which is then retried in halves until the faulty record is isolated.
        """

    def report_progress(self, fraction: float, units: float) -> None:
        """Report how much of the running batch is done, in the thread of `run`; at most one report a second is sent.

        A batch whose units do not increase within the time limit is given up, so a stage whose batches may take longer
        than that reports.

        Args:
            fraction: fraction of the batch, 0 to 1.
            units: amount of finished work in the batch, in `unit`.
        """
        if self.on_progress:
            self.on_progress(fraction, units)


WARNING_COLUMNS: Mapping[str, type] = {"warnings": str, "warning_codes": str}
SEPARATORS = {"warnings": "; ", "warning_codes": ","}  # of several values in one column


def warning_facts(warnings: Sequence[InputWarning]) -> dict[str, str | None]:
    """Return the facts `warnings` (sentences) and `warning_codes`; None if there are no warnings."""
    return {
        "warnings": SEPARATORS["warnings"].join(warning.sentence for warning in warnings) or None,
        "warning_codes": SEPARATORS["warning_codes"].join(warning.code for warning in warnings) or None,
    }
