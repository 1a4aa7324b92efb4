"""Classification of exceptions, and isolation: an entry that fails does not affect the others of its batch."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from joyvasa.errors import ConfigError, InputError, JoyvasaError, OutputError
from manifests.problems import ManifestError
from stages.base import Failed, FailureKind

T = TypeVar("T")
R = TypeVar("R")
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


def classify_for_record(error: BaseException) -> Failed:
    """Return the failure of a record that an exception stands for.

    Raises:
        BaseException: the error itself if it made the process unusable, because the record is then not at fault.
    """
    failure = classify_exception(error)
    if failure.kind is FailureKind.BROKEN:
        raise error
    return failure


def map_each(entries: Iterable[T | Failed], function: Callable[[T], R]) -> list[R | Failed]:
    """Call a function with one entry at a time; entries that have failed already are passed through."""
    results: list[R | Failed] = []
    for entry in entries:
        if isinstance(entry, Failed):
            results.append(entry)
            continue
        try:
            results.append(function(entry))
        except Exception as error:
            results.append(classify_for_record(error))
    return results


def map_batch(entries: Sequence[T | Failed], function: Callable[[list[T]], Sequence[R]]) -> list[R | Failed]:
    """Call a function with all entries at once, or with one at a time if that fails.

    On out-of-memory all entries fail, because single runs cannot show which batch size fits.

    Args:
        entries: entries; those that have failed already are passed through.
        function: returns one result per entry, in order; may be called again with the same entry.
    """
    good = [entry for entry in entries if not isinstance(entry, Failed)]
    results = iter(_run_batch(good, function))
    return [entry if isinstance(entry, Failed) else next(results) for entry in entries]


def _run_batch(good: list[T], function: Callable[[list[T]], Sequence[R]]) -> list[R | Failed]:
    if not good:
        return []
    try:
        return list(function(good))
    except Exception as error:
        failure = classify_for_record(error)
    if len(good) == 1 or failure.kind is FailureKind.OUT_OF_MEMORY:
        return [failure] * len(good)
    return [result for entry in good for result in _run_batch([entry], function)]
