"""Uploads are accepted only from the temporary folder and up to their limits."""

import pytest

from joyvasa.errors import InputError
from pipelines.web.limits import Limits
from pipelines.web.uploads import Uploads
from tests.media import write_tone


@pytest.fixture
def uploads(tmp_path):
    (tmp_path / "uploads").mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    return Uploads(tmp_path / "uploads", Limits(upload_bytes=1000, uploads_bytes=2500, sound_s=2.0))


def assert_refused(call, code):
    with pytest.raises(InputError) as caught:
        call()
    assert caught.value.code == code
    return caught.value.sentence


def test_files_from_elsewhere_are_refused(uploads, tmp_path):
    (uploads.folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    target = uploads.new_folder() / "portrait"
    outside = ["/etc/hostname", str(tmp_path / "secret.jpg"), str(uploads.folder / "../secret.jpg")]
    for path in [*outside, str(uploads.folder / "link.jpg"), str(uploads.folder), "x\0y", "http://127.0.0.1/x.jpg"]:
        assert not uploads.contains(path)
        assert_refused(lambda: uploads.store({"path": path}, target, "portrait"), "upload_missing")  # noqa: B023
    for upload in (None, "", [], {"path": 3}, {"path": None}, str(tmp_path / "secret.jpg")):
        assert_refused(lambda: uploads.store(upload, target, "portrait"), "upload_missing")  # noqa: B023


def test_an_upload_is_stored_under_a_safe_name(uploads):
    (uploads.folder / "my face; rm -rf.JPG").write_bytes(b"picture")
    folder = uploads.new_folder()
    stored = uploads.store({"path": str(uploads.folder / "my face; rm -rf.JPG")}, folder / "portrait", "portrait")
    assert stored == folder / "portrait.JPG"
    assert stored.read_bytes() == b"picture"


def test_a_large_upload_is_refused_with_its_size(uploads):
    (uploads.folder / "x.jpg").write_bytes(bytes(1001))
    target = uploads.new_folder() / "portrait"
    sentence = assert_refused(
        lambda: uploads.store({"path": str(uploads.folder / "x.jpg")}, target, "portrait"), "upload_too_large"
    )
    assert sentence.startswith("x.jpg: ")


def test_a_long_recording_is_not_decoded_to_its_end(uploads, tmp_path):
    assert uploads.check_length(write_tone(tmp_path / "short.wav", seconds=1.5)) == pytest.approx(1.5)
    long = write_tone(tmp_path / "long.wav", seconds=30)
    sentence = assert_refused(lambda: uploads.check_length(long), "upload_too_long")
    assert "longer than 2 s" in sentence


def test_a_full_folder_refuses_uploads(uploads, monkeypatch):
    monkeypatch.setattr("pipelines.web.uploads.CHECK_S", 0.0)
    (uploads.folder / "a").write_bytes(bytes(1000))
    assert uploads.has_room()
    (uploads.folder / "b").write_bytes(bytes(1000))
    assert not uploads.has_room()
