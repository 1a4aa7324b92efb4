"""The contract of a stage: what goes in, what comes out, how failure is told."""

from __future__ import annotations

import errno
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Literal, TypeAlias

from joyvasa.errors import ConfigError, InputError, JoyvasaError, OutputError
from manifests.errors import ManifestError
from manifests.record import Record

Fact: TypeAlias = "int | float | str | bool | None"
"""A small value that may leave the worker: a count, a duration, a hash, a file name. Never a tensor."""


@dataclass(frozen=True)
class Item:
    """What a stage gets for one record.

    Attributes:
        record: the record. A stage whose results are shared sees one of the records that share it and must use
            nothing of it but what the key covers.
        inputs: payloads by output of the upstream stage. Arrays in them may be read-only.
    """

    record: Record
    inputs: Mapping[str, Any] = field(default_factory=dict)


class FailureKind(StrEnum):
    """What a failure means for the record."""

    BAD_INPUT = "bad_input"  # final: trying again gives the same result. The record fails
    IO = "io"  # a file or service did not answer: tried again with back-off, then the record fails
    OUT_OF_MEMORY = "out_of_memory"  # tried again in a smaller batch, then quarantined
    POISON = "poison"  # a result nobody may use (not a number), or an unexpected error: quarantined
    BROKEN = "broken"  # the process can compute nothing more (its GPU context failed): as if the worker had died
    STOP = "stop"  # nothing can go on (disk full, folder read-only, an option that fits no record): the run stops


@dataclass(frozen=True)
class Ok:
    """A record passed the stage.

    Attributes:
        payload: for the stages downstream; anything that pickles. Large data should be numpy arrays, which travel
            without a copy. `None` where nobody needs one.
        facts: small values for buckets, statistics and the outcome row. `bytes` (size of the payload) is counted
            against the memory that a run may hold; amounts are summed up in the statistics.
    """

    payload: Any = None
    facts: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """A record did not pass the stage.

    Attributes:
        kind: what it means.
        code: stable, lower case with underscores, for example `audio_unreadable`.
        sentence: names the thing, what was found, what was expected, what to do.
    """

    kind: FailureKind
    code: str
    sentence: str


Outcome: TypeAlias = "Ok | Failed"


WorkUnit: TypeAlias = Literal["record", "portrait", "second", "distinct_second", "frame"]
"""The unit that the work of a stage grows with, for estimates; see `manifests.estimate`."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What the workers of a stage need; options `stages.<name>.*` override it.

    Attributes:
        cpu: cores of a worker.
        gpu: share of a GPU, one n-th or a whole number, that a worker gets where the run has GPUs. The shares of a
            pipeline fill a GPU.
        workers: `one`, or `per_gpu` for one worker for each GPU of the run.
        all_cores: whether the stage uses all cores of the machine where the run has no GPU.
        time_limit_s: seconds for one batch; a worker that takes longer is killed.
    """

    cpu: float = 1.0
    gpu: float = 0.0
    workers: Literal["one", "per_gpu"] = "one"
    all_cores: bool = False
    time_limit_s: float = 1800.0


class Stage(ABC):
    """A unit of work that knows nothing of what runs it.

    A stage declares its name and what it needs, is built from a frozen dataclass with its settings, is sent to its
    worker, and loads its models only there:

        class PortraitStage(Stage):
            name = "portrait"
            resources = Resources(gpu=1 / 8, workers="per_gpu")
            batch_size = 8
            columns = {"n_faces": int}

            def __init__(self, config: PortraitConfig) -> None:
                self.config = config

            def setup(self) -> None:
                self.extractor = open_bundle(self.config.models).network("appearance_feature_extractor")

            def run(self, batch: Sequence[Item]) -> list[Outcome]:
                return [self._extract(item) for item in batch]

    Attributes:
        name: name in the pipeline, in options, in statistics, and in the columns of the outcome table.
        resources: what its workers need.
        batch_size: largest number of records in one call.
        unit: what its work grows with.
        columns: facts that become columns of the outcome table, with their types. Where several stages of a pipeline
            have a column, the first one that states a value counts.
        output_columns: the same for facts about the files of a record; empty for a record that failed later.
    """

    name: ClassVar[str] = ""
    resources: ClassVar[Resources] = Resources()
    batch_size: ClassVar[int] = 8
    unit: ClassVar[WorkUnit] = "record"
    columns: ClassVar[Mapping[str, type]] = {}
    output_columns: ClassVar[Mapping[str, type]] = {}

    def copy_declaration(self, stage: Stage) -> None:
        """Take over the declaration of another stage, for a stage that wraps it."""
        names = ("name", "resources", "batch_size", "unit", "columns", "output_columns")
        vars(self).update({name: getattr(stage, name) for name in names})

    def setup(self) -> None:  # noqa: B027 (nothing to load is a fine default)
        """Loads models and opens what `run` needs; called once in every worker, before the first batch.

        Raises:
            Exception: anything; its text is shown to the user when no worker of the stage can start.
        """

    @abstractmethod
    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Works on a batch.

        It may be called again for the same record, after a crash or for a lost payload, and must then give the same.

        Args:
            batch: at least one item. Which records share a batch is chance and must not change a result.

        Returns:
            One outcome per item, in the order of the batch. Bad input is an outcome, not an exception; an exception
            counts against the whole batch, which is then run again in halves until the record is found.
        """


_DISK = {errno.ENOSPC, errno.EROFS, errno.EDQUOT}  # full, read-only, quota: no record is to blame
_ACCESS = {errno.EACCES, errno.EPERM}  # no more is any, where a result is to be written; a file to be read may be
_OUTPUT_CODES = {"disk_full", "output_unwritable"}

# What torch, cuBLAS, cuDNN and ONNX Runtime say when a kernel or the driver has failed. From then on the CUDA context
# answers every call with an error, until its process ends.
_GPU_FAULT = re.compile(
    r"(CUDA|HIP)( driver)? error|CUDA failure|device-side assert|illegal memory access"
    r"|CUBLAS_STATUS_|CUDNN_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR|MAPPING_ERROR)"
)
# The context survives that.
_GPU_FULL = re.compile(
    r"(CUDA|HIP)( driver)? (error|failure)[^:]*: out of memory|STATUS_ALLOC_FAILED"
    r"|Failed to allocate memory for requested buffer"
)


def classify_exception(error: BaseException) -> Failed:
    """Sorts an exception.

    Args:
        error: what was raised while working on a record or a batch.

    Returns:
        The failure it stands for, with the code of the exception where it has one.
    """
    if fault := _gpu_fault(error):
        return Failed(FailureKind.BROKEN, "gpu_failed", _text(fault))
    name = type(error).__name__
    if isinstance(error, MemoryError) or name == "OutOfMemoryError" or _GPU_FULL.search(str(error)):
        return Failed(FailureKind.OUT_OF_MEMORY, "out_of_memory", _text(error))  # torch's, by name: torch is not imported
    if _no_record_is_to_blame(error):
        return Failed(FailureKind.STOP, *_told(error, "disk_unwritable"))
    if isinstance(error, InputError):
        return Failed(FailureKind.BAD_INPUT, error.code, error.sentence)
    if isinstance(error, ConfigError):  # the same for every record
        return Failed(FailureKind.STOP, error.code, error.sentence)
    if isinstance(error, OSError | OutputError) or isinstance(error.__cause__, OSError):
        return Failed(FailureKind.IO, *_told(error, "io_error"))
    return Failed(FailureKind.POISON, *_told(error, "unexpected_error"))


def _gpu_fault(error: BaseException | None) -> BaseException | None:
    """The exception, of this one and those it was raised for, that tells of a failed GPU context."""
    while error is not None:
        text = str(error)
        ours = isinstance(error, JoyvasaError | OSError)  # their texts may hold names of files
        if (
            not ours
            and not _GPU_FULL.search(text)
            and (type(error).__name__ == "AcceleratorError" or _GPU_FAULT.search(text))
        ):
            return error
        error = error.__cause__ or error.__context__
    return None


def _no_record_is_to_blame(error: BaseException) -> bool:
    if isinstance(error, OutputError) and error.code in _OUTPUT_CODES:
        return True
    if type(error).__name__ == "OutOfDiskError":  # of Ray's object store
        return True
    number = getattr(error if isinstance(error, OSError) else error.__cause__, "errno", None)
    return number in _DISK or (isinstance(error, ManifestError) and number in _ACCESS)


def _told(error: BaseException, code: str) -> tuple[str, str]:
    """Code and sentence of an exception; `code` where it has none of its own."""
    if isinstance(error, JoyvasaError):
        return error.code, error.sentence
    if isinstance(error, OSError) and error.errno in _DISK:
        where = error.filename or "the disk"
        return code, f"{where}: cannot be written ({error.strerror}): free space or check access, then resume"
    return code, _text(error)


def _text(error: BaseException, limit: int = 500) -> str:
    """Type and text of an exception on one line, cut to `limit` characters."""
    text = " ".join(str(error).split())
    name = type(error).__name__
    return (f"{name}: {text}" if text else name)[:limit]
