import errno
import os

import pytest

from joyvasa.errors import InputError, OutputError
from manifests.storage import unwritable_error
from stages.base import Failed, FailureKind
from stages.failures import classify_for_record, map_batch, map_each


def unwritable(number):
    error = OSError(number, os.strerror(number))
    try:
        raise unwritable_error("run/video.mp4", error) from error
    except Exception as failure:
        return failure


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (InputError("audio_empty", "empty"), FailureKind.BAD_INPUT, "audio_empty"),
        (OutputError("disk_full", "full"), FailureKind.STOP, "disk_full"),
        (OutputError("encoding_failed", "ffmpeg"), FailureKind.IO, "encoding_failed"),
        (unwritable(errno.ENOSPC), FailureKind.STOP, "output_unwritable"),
        (unwritable(errno.EROFS), FailureKind.STOP, "output_unwritable"),
        (unwritable(errno.EACCES), FailureKind.STOP, "output_unwritable"),
        (unwritable(errno.EIO), FailureKind.IO, "output_unwritable"),
        (MemoryError(), FailureKind.OUT_OF_MEMORY, "out_of_memory"),
        (KeyError("shard"), FailureKind.POISON, "unexpected_error"),
    ],
)
def test_errors_are_classified(error, kind, code):
    failure = classify_for_record(error)
    assert (failure.kind, failure.code) == (kind, code)


@pytest.mark.parametrize(
    "run", [lambda function: map_each([1, 2], function), lambda function: map_batch([1, 2], function)]
)
def test_a_failed_gpu_context_is_raised_and_not_assigned_to_an_entry(run):
    def fail(entry):
        raise RuntimeError("CUDA error: device-side assert triggered")

    with pytest.raises(RuntimeError, match="device-side assert"):
        run(fail)


def test_map_each_isolates_the_failure_of_an_entry():
    results = map_each([1, 0, 2], lambda number: 10 // number)
    assert (results[0], results[2]) == (10, 5)
    assert isinstance(results[1], Failed)


def test_map_batch_isolates_the_entry_that_fails_the_batch():
    calls = []

    def divide(numbers):
        calls.append(list(numbers))
        return [10 // number for number in numbers]

    earlier = Failed(FailureKind.IO, "io_error", "before")
    results = map_batch([1, earlier, 0, 2], divide)
    assert (results[0], results[1], results[3]) == (10, earlier, 5)
    assert isinstance(results[2], Failed)
    assert calls == [[1, 0, 2], [1], [0], [2]]
