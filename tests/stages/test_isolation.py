import errno
import os

import pytest

from joyvasa.errors import InputError, OutputError
from manifests.storage import unwritable_error
from stages.base import Failed, FailureKind
from stages.isolation import classify_for_record, map_batch, map_each


def caused(number):
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
        (caused(errno.ENOSPC), FailureKind.STOP, "output_unwritable"),
        (caused(errno.EROFS), FailureKind.STOP, "output_unwritable"),
        (caused(errno.EACCES), FailureKind.STOP, "output_unwritable"),
        (caused(errno.EIO), FailureKind.IO, "output_unwritable"),
        (MemoryError(), FailureKind.OUT_OF_MEMORY, "out_of_memory"),
        (KeyError("shard"), FailureKind.POISON, "unexpected_error"),
    ],
)
def test_errors_are_sorted(error, kind, code):
    failure = classify_for_record(error)
    assert (failure.kind, failure.code) == (kind, code)


@pytest.mark.parametrize("work", [lambda do: map_each([1, 2], do), lambda do: map_batch([1, 2], do)])
def test_a_failed_gpu_is_no_entry_s_failure(work):
    def do(entry):
        raise RuntimeError("CUDA error: device-side assert triggered")

    with pytest.raises(RuntimeError, match="device-side assert"):
        work(do)


def test_each_keeps_a_failure_to_its_entry():
    found = map_each([1, 0, 2], lambda number: 10 // number)
    assert (found[0], found[2]) == (10, 5)
    assert isinstance(found[1], Failed)


def test_together_finds_the_entry_that_spoils_the_batch():
    calls = []

    def work(numbers):
        calls.append(list(numbers))
        return [10 // number for number in numbers]

    passed_on = Failed(FailureKind.IO, "io_error", "before")
    found = map_batch([1, passed_on, 0, 2], work)
    assert (found[0], found[1], found[3]) == (10, passed_on, 5)
    assert isinstance(found[2], Failed)
    assert calls == [[1, 0, 2], [1], [0], [2]]
