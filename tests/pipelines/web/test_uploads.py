"""Uploads are taken from the temporary folder alone, and only so large and so long."""

import pytest

from joyvasa.errors import InputError
from pipelines.web.limits import Limits
from pipelines.web.uploads import Uploads
from tests.media import tone


@pytest.fixture
def uploads(tmp_path):
    (tmp_path / "uploads").mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    return Uploads(tmp_path / "uploads", Limits(upload_bytes=1000, uploads_bytes=2500, sound_s=2.0))


def refused(call, code):
    with pytest.raises(InputError) as caught:
        call()
    assert caught.value.code == code
    return caught.value.sentence


def test_files_from_elsewhere_are_not_taken(uploads, tmp_path):
    (uploads.folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    target = uploads.new_folder() / "portrait"
    outside = ["/etc/hostname", str(tmp_path / "secret.jpg"), str(uploads.folder / "../secret.jpg")]
    for path in [*outside, str(uploads.folder / "link.jpg"), str(uploads.folder), "x\0y", "http://127.0.0.1/x.jpg"]:
        assert not uploads.holds(path)
        refused(lambda: uploads.take(path, target, "portrait"), "upload_missing")  # noqa: B023
    refused(lambda: uploads.take(None, target, "portrait"), "upload_missing")


def test_an_upload_is_kept_under_a_name_of_our_own(uploads):
    (uploads.folder / "my face; rm -rf.JPG").write_bytes(b"picture")
    folder = uploads.new_folder()
    kept = uploads.take(str(uploads.folder / "my face; rm -rf.JPG"), folder / "portrait", "portrait")
    assert kept == folder / "portrait.JPG"
    assert kept.read_bytes() == b"picture"


def test_a_large_upload_is_refused_with_its_size(uploads):
    (uploads.folder / "x.jpg").write_bytes(bytes(1001))
    target = uploads.new_folder() / "portrait"
    sentence = refused(lambda: uploads.take(str(uploads.folder / "x.jpg"), target, "portrait"), "upload_too_large")
    assert sentence.startswith("x.jpg: ")


def test_a_long_recording_is_not_decoded_to_its_end(uploads, tmp_path):
    assert uploads.check_length(tone(tmp_path / "short.wav", seconds=1.5)) == pytest.approx(1.5)
    sentence = refused(lambda: uploads.check_length(tone(tmp_path / "long.wav", seconds=30)), "upload_too_long")
    assert "longer than 2 s" in sentence


def test_a_full_folder_takes_no_more(uploads, monkeypatch):
    monkeypatch.setattr("pipelines.web.uploads.CHECK_S", 0.0)
    (uploads.folder / "a").write_bytes(bytes(1000))
    assert uploads.has_room()
    (uploads.folder / "b").write_bytes(bytes(1000))
    assert not uploads.has_room()
