"""Interface of a stage: its inputs, its outcomes, and the classification of failures."""

from __future__ import annotations

import errno
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Generic, Literal, TypeAlias, TypeVar

from joyvasa.errors import ConfigError, InputError, JoyvasaError, OutputError
from manifests.problems import ManifestError
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
    time_limit_s: float = 1800.0  # time limit for one batch, seconds; a worker that exceeds it is killed


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

    Args:
        config: options of the stage.

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

        Args:
            fraction: fraction of the batch, 0 to 1.
            units: amount of finished work in the batch, in `unit`.
        """
        if self.on_progress:
            self.on_progress(fraction, units)


MAX_CHARACTERS = 500  # of the text of an exception
_DISK = {errno.ENOSPC, errno.EROFS, errno.EDQUOT}  # disk full, read-only, quota: not the fault of a record
_ACCESS = {errno.EACCES, errno.EPERM}  # on output paths no record is at fault; on input paths one may be
_OUTPUT_CODES = {"disk_full", "output_unwritable"}

# Messages of torch, cuBLAS, cuDNN and ONNX Runtime after a failure of a kernel or the driver. From then on every call
# in the CUDA context fails, until the process ends.
_GPU_FAULT = re.compile(
    r"(CUDA|HIP)( driver)? error|CUDA failure|device-side assert|illegal memory access"
    r"|CUBLAS_STATUS_|CUDNN_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR|MAPPING_ERROR)"
)
# Out-of-memory errors leave the context usable.
_GPU_FULL = re.compile(
    r"(CUDA|HIP)( driver)? (error|failure)[^:]*: out of memory|STATUS_ALLOC_FAILED"
    r"|Failed to allocate memory for requested buffer"
)


def classify_exception(error: BaseException) -> Failed:
    """Return the failure that an exception stands for.

    Args:
        error: exception raised while a record or a batch was processed.

    Returns:
        The failure, with the code of the exception if it has one.
    """
    if fault := _find_gpu_fault(error):
        return Failed(FailureKind.BROKEN, "gpu_failed", _one_line(fault))

    # torch's OutOfMemoryError is recognized by its name, because torch is not imported here.
    name = type(error).__name__
    if isinstance(error, MemoryError) or name == "OutOfMemoryError" or _GPU_FULL.search(str(error)):
        return Failed(FailureKind.OUT_OF_MEMORY, "out_of_memory", _one_line(error))

    if _affects_all_records(error):
        return Failed(FailureKind.STOP, *_code_and_sentence(error, "disk_unwritable"))
    if isinstance(error, InputError):
        return Failed(FailureKind.BAD_INPUT, error.code, error.sentence)
    if isinstance(error, ConfigError):  # the same for every record
        return Failed(FailureKind.STOP, error.code, error.sentence)
    if isinstance(error, OSError | OutputError) or isinstance(error.__cause__, OSError):
        retry_after_s = getattr(error, "retry_after_s", 0.0)
        return Failed(FailureKind.IO, *_code_and_sentence(error, "io_error"), retry_after_s=retry_after_s)
    return Failed(FailureKind.POISON, *_code_and_sentence(error, "unexpected_error"))


def _find_gpu_fault(error: BaseException | None) -> BaseException | None:
    """Return the first exception in the chain of causes that reports a failed GPU context."""
    while error is not None:
        text = str(error)
        may_name_files = isinstance(error, JoyvasaError | OSError)
        if (
            not may_name_files
            and not _GPU_FULL.search(text)
            and (type(error).__name__ == "AcceleratorError" or _GPU_FAULT.search(text))
        ):
            return error
        error = error.__cause__ or error.__context__
    return None


def _affects_all_records(error: BaseException) -> bool:
    if isinstance(error, OutputError) and error.code in _OUTPUT_CODES:
        return True
    if type(error).__name__ == "OutOfDiskError":  # raised by Ray's object store
        return True
    number = getattr(error if isinstance(error, OSError) else error.__cause__, "errno", None)
    return number in _DISK or (isinstance(error, ManifestError) and number in _ACCESS)


def _code_and_sentence(error: BaseException, code: str) -> tuple[str, str]:
    """Return the code and the sentence of an exception; `code` is the default code."""
    if isinstance(error, JoyvasaError):
        return error.code, error.sentence
    if isinstance(error, OSError) and error.errno in _DISK:
        path = error.filename or "the disk"
        return code, f"{path}: cannot be written ({error.strerror}): free space or check access, then resume"
    return code, _one_line(error)


def _one_line(error: BaseException) -> str:
    """Return the type and the text of an exception on one line of at most `MAX_CHARACTERS`."""
    text = " ".join(str(error).split())
    name = type(error).__name__
    return (f"{name}: {text}" if text else name)[:MAX_CHARACTERS]
