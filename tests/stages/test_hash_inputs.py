import builtins
import hashlib
import os
import subprocess
import sys

import fsspec
import pytest

from joyvasa.errors import InputError
from joyvasa.media.audio import probe_audio
from joyvasa.media.image import read_image
from joyvasa.motion.file import load_motion
from stages import hash_inputs, media
from stages.base import FailureKind, Item, Ok
from stages.failures import classify_exception
from stages.hash_inputs import HashInputsStage, InputHashes
from tests.stages.items import make_record, set_up

READERS = {"image": read_image, "audio": probe_audio, "motion": load_motion}


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def items(*rows):
    return [Item(make_record(f"r{number}", **row)) for number, row in enumerate(rows)]


@pytest.fixture
def stage():
    return set_up(HashInputsStage())


@pytest.fixture
def opened(monkeypatch):
    """Locations that were opened, in any order."""
    locations, original = [], media.open_stream

    def open_and_log(location, cache):
        locations.append(location)
        return original(location, cache)

    monkeypatch.setattr(hash_inputs, "open_stream", open_and_log)
    return locations


def test_each_file_of_a_row_is_hashed_by_content(stage, tmp_path):
    for name, content in (("a.jpg", b"face"), ("b.wav", b"voice" * 500_000), ("c.safetensors", b"motion")):
        (tmp_path / name).write_bytes(content)
    image, audio, motion = tmp_path / "a.jpg", tmp_path / "b.wav", tmp_path / "c.safetensors"
    given = items({"image": image, "audio": audio, "motion": motion}, {"image": image, "audio": audio, "motion": None})
    whole, part = stage.run(given)
    hashes = [sha256(b"face"), sha256(b"voice" * 500_000), sha256(b"motion")]
    assert whole == Ok(
        InputHashes(*hashes), dict(zip(("image_sha256", "audio_sha256", "motion_sha256"), hashes, strict=True))
    )
    assert part.payload == InputHashes(*hashes[:2], None)


def test_equal_files_have_equal_hashes_and_each_location_is_read_once(stage, tmp_path, opened):
    for name in ("a.jpg", "copy.jpg"):
        (tmp_path / name).write_bytes(b"face")
    given = items(*({"image": tmp_path / name} for name in ("a.jpg", "copy.jpg", "a.jpg", "a.jpg")))
    assert len({outcome.payload for outcome in stage.run(given)}) == 1
    assert len({outcome.payload for outcome in stage.run(given[::-1])}) == 1
    assert sorted(opened) == [str(tmp_path / "a.jpg"), str(tmp_path / "copy.jpg")]


@pytest.mark.parametrize("column", READERS)
@pytest.mark.parametrize("state", ["missing", "folder", "empty", "pipe", "below a file", "name too long"])
def test_an_unreadable_file_fails_with_the_error_of_its_reader_and_alone(stage, tmp_path, column, state):
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(b"content")
    match state:
        case "folder":
            bad.mkdir()
        case "empty":
            bad.touch()
        case "pipe":
            os.mkfifo(bad)
        case "below a file":
            bad = good / "bad"
        case "name too long":
            bad = tmp_path / ("x" * 300)
    fine, failed = stage.run(items({"image": good, column: good}, {"image": good, column: bad}))
    assert isinstance(fine, Ok)
    with pytest.raises((InputError, OSError)) as error:
        READERS[column](bad)
    assert failed == classify_exception(error.value)


def test_a_disk_error_is_retried(stage, tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(b"face")

    def broken(*_arguments, **_options):
        raise OSError(5, "Input/output error")

    given = items({"image": tmp_path / "a.jpg"})
    with monkeypatch.context() as patch:
        patch.setattr(builtins, "open", broken)
        (outcome,) = stage.run(given)
    assert outcome.kind is FailureKind.IO
    (again,) = stage.run(given)
    assert again.facts["image_sha256"] == sha256(b"face")


def test_a_huge_file_has_no_hash(stage, tmp_path, monkeypatch):
    monkeypatch.setattr(hash_inputs, "MAX_BYTES", 3)
    (tmp_path / "a.jpg").write_bytes(b"face")
    (outcome,) = stage.run(items({"image": tmp_path / "a.jpg"}))
    assert outcome.facts["image_sha256"] is None


def test_files_in_an_object_store_are_streamed(stage):
    fsspec.filesystem("memory").pipe_file("/hash/a.jpg", b"face")
    fsspec.filesystem("memory").pipe_file("/hash/empty.jpg", b"")
    names = ("a", "none", "empty")
    outcomes = stage.run(items(*({"image": f"memory://hash/{name}.jpg"} for name in names)))
    assert outcomes[0].facts["image_sha256"] == sha256(b"face")
    assert [outcome.code for outcome in outcomes[1:]] == ["file_missing", "image_empty"]
    assert {outcome.kind for outcome in outcomes[1:]} == {FailureKind.BAD_INPUT}


def test_an_address_without_a_valid_host_is_bad_input(stage):
    (outcome,) = stage.run(items({"image": "http://[bad/a.png"}))
    assert (outcome.kind, outcome.code) == (FailureKind.BAD_INPUT, "file_missing")
    assert outcome.sentence == "http://[bad/a.png: no such address (Invalid IPv6 URL): check the address"


def test_the_worker_imports_no_decoders():
    code = "import sys, stages.hash_inputs; sys.exit(any(name in sys.modules for name in ('torch', 'cv2', 'ffmpeg')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
