"""Classification of exceptions."""

import errno

import pytest
import torch

from joyvasa.errors import ConfigError, InputError, ModelError, OutputError
from manifests.problems import ManifestError
from stages.base import Failed, FailureKind
from stages.failures import classify_exception


def with_cause(error, cause):
    error.__cause__ = cause
    return error


class OutOfMemoryError(RuntimeError):
    """Has the name of torch's class."""


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (InputError("audio_empty", "no sound"), FailureKind.BAD_INPUT, "audio_empty"),
        (ConfigError("mode", "unknown"), FailureKind.STOP, "mode"),
        (ModelError("weights", "damaged"), FailureKind.POISON, "weights"),
        (OutputError("video_unwritable", "no answer"), FailureKind.IO, "video_unwritable"),
        (with_cause(OutputError("video_unwritable", "full"), FULL), FailureKind.STOP, "video_unwritable"),
        (
            with_cause(ManifestError("output_unwritable", "timeout"), TimeoutError()),
            FailureKind.IO,
            "output_unwritable",
        ),
        (ManifestError("records_unreadable", "damaged"), FailureKind.POISON, "records_unreadable"),
        (
            with_cause(ManifestError("run_missing", "no access"), PermissionError(errno.EACCES, "no")),
            FailureKind.STOP,
            "run_missing",
        ),
        (FULL, FailureKind.STOP, "disk_unwritable"),
        (OSError(errno.EROFS, "Read-only file system"), FailureKind.STOP, "disk_unwritable"),
        (ConnectionResetError("reset"), FailureKind.IO, "io_error"),
        (MemoryError(), FailureKind.OUT_OF_MEMORY, "out_of_memory"),
        (OutOfMemoryError("CUDA out of memory"), FailureKind.OUT_OF_MEMORY, "out_of_memory"),
        (RuntimeError("CUDA error: out of memory"), FailureKind.OUT_OF_MEMORY, "out_of_memory"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"),
            FailureKind.OUT_OF_MEMORY,
            "out_of_memory",
        ),
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), FailureKind.BROKEN, "gpu_failed"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), FailureKind.BROKEN, "gpu_failed"),
        (RuntimeError("CUDA driver error: unspecified launch failure"), FailureKind.BROKEN, "gpu_failed"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), FailureKind.BROKEN, "gpu_failed"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"), FailureKind.POISON, "unexpected_error"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling"), FailureKind.BROKEN, "gpu_failed"),
        (
            RuntimeError("[ONNXRuntimeError] CUDA failure 700: an illegal memory access"),
            FailureKind.BROKEN,
            "gpu_failed",
        ),
        (
            with_cause(InputError("face", "none"), RuntimeError("CUDA error: misaligned address")),
            FailureKind.BROKEN,
            "gpu_failed",
        ),
        (InputError("image_unreadable", "CUDA error.jpg: no picture"), FailureKind.BAD_INPUT, "image_unreadable"),
        (FileNotFoundError(errno.ENOENT, "No such file", "CUDA error.jpg"), FailureKind.IO, "io_error"),
        (with_cause(InputError("audio_unreadable", "cut off"), FULL), FailureKind.STOP, "audio_unreadable"),
        (ValueError("strange"), FailureKind.POISON, "unexpected_error"),
    ],
)
def test_an_exception_has_a_kind_and_a_code(error, kind, code):
    failure = classify_exception(error)
    assert (failure.kind, failure.code) == (kind, code)


def test_a_project_error_keeps_its_sentence_and_any_other_becomes_one_short_line():
    assert classify_exception(InputError("audio_empty", "a.wav: no sound")) == Failed(
        FailureKind.BAD_INPUT, "audio_empty", "a.wav: no sound"
    )
    full = OSError(errno.ENOSPC, "No space left on device", "a.mp4")
    assert (
        classify_exception(full).sentence
        == "a.mp4: cannot be written (No space left on device): free space or check access, then resume"
    )
    sentence = classify_exception(ValueError("first\nsecond " + "x" * 1000)).sentence
    assert sentence.startswith("ValueError: first second x")
    assert len(sentence) == 500
