"""What an exception means for the record that it was raised for."""

import errno

import pytest

from joyvasa.errors import ConfigError, InputError, ModelError, OutputError
from manifests.errors import ManifestError
from stages.base import Failed, Kind, failure_of


def caused(error, cause):
    error.__cause__ = cause
    return error


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (InputError("audio_empty", "no sound"), Kind.BAD_INPUT, "audio_empty"),
        (ConfigError("mode", "unknown"), Kind.BAD_INPUT, "mode"),
        (ModelError("weights", "damaged"), Kind.POISON, "weights"),
        (OutputError("video_unwritable", "no answer"), Kind.IO, "video_unwritable"),
        (caused(OutputError("video_unwritable", "full"), FULL), Kind.STOP, "disk_unwritable"),
        (caused(ManifestError("output_unwritable", "timeout"), TimeoutError()), Kind.IO, "output_unwritable"),
        (FULL, Kind.STOP, "disk_unwritable"),
        (OSError(errno.EROFS, "Read-only file system"), Kind.STOP, "disk_unwritable"),
        (ConnectionResetError("reset"), Kind.IO, "io_error"),
        (MemoryError(), Kind.OUT_OF_MEMORY, "out_of_memory"),
        (OutOfMemoryError("CUDA out of memory"), Kind.OUT_OF_MEMORY, "out_of_memory"),
        (ValueError("strange"), Kind.POISON, "unexpected_error"),
    ],
)
def test_an_exception_has_a_kind_and_a_code(error, kind, code):
    failure = failure_of(error)
    assert (failure.kind, failure.code) == (kind, code)


def test_an_error_made_for_people_keeps_its_sentence_and_any_other_is_put_on_one_short_line():
    assert failure_of(InputError("audio_empty", "a.wav: no sound")) == Failed(
        Kind.BAD_INPUT, "audio_empty", "a.wav: no sound"
    )
    sentence = failure_of(ValueError("first\nsecond " + "x" * 1000)).sentence
    assert sentence.startswith("ValueError: first second x")
    assert len(sentence) == 500
