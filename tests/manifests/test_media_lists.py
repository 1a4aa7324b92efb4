import os
import tarfile
import zipfile

import fsspec
import pytest

from manifests.media_lists import open_media_list
from manifests.pairing import plan_pairs
from manifests.problems import ManifestError
from stages.media import local_file
from tests.manifests.tables import write


def fill(folder, *names, content=b"x"):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def test_a_folder_gives_the_files_of_its_kind_sorted_and_without_hidden_ones(tmp_path):
    folder = fill(tmp_path / "faces", "b.JPG", "anna/1.png", "notes.txt", "c.wav", ".trash/d.png", "._b.JPG", "v.mp4")
    images, audio = open_media_list(str(folder), "image"), open_media_list(str(folder), "audio")
    assert images.locations == [str(folder / "anna/1.png"), str(folder / "b.JPG")]
    assert images.names == ["anna_1", "b"]
    assert (images.folders, images.stems) == (["anna", "faces"], ["1", "b"])
    assert audio.locations == [str(folder / "c.wav")]


def test_pieces_of_an_earlier_call_are_not_recordings(tmp_path):
    folder = fill(tmp_path, "a.wav", "pairs.pieces/a/00000.wav")
    assert open_media_list(str(folder), "audio").names == ["a"]


def test_a_glob_and_a_file_may_name_videos_with_sound(tmp_path, monkeypatch):
    fill(tmp_path, "talks/a.mp4", "talks/b.mp4", "talks/c.txt")
    monkeypatch.chdir(tmp_path)
    assert open_media_list("talks/*", "audio").names == ["a", "b"]
    assert open_media_list("talks/b.mp4", "audio").locations == [str(tmp_path / "talks/b.mp4")]
    with pytest.raises(ManifestError, match="media_none"):
        open_media_list("talks", "audio")


def test_names_with_brackets_are_found_before_they_are_globs(tmp_path):
    fill(tmp_path, "a[1].png")
    assert open_media_list(str(tmp_path / "a[1].png"), "image").names == ["a_1"]


def test_equal_long_and_foreign_names_get_a_hash_that_moving_does_not_change(tmp_path):
    names = ["a.png", "a.jpg", "A b.png", "ü.png", "日本.png", f"{'long-' * 12}1.png"]
    first = open_media_list(str(fill(tmp_path / "1", *names)), "image")
    second = open_media_list(str(fill(tmp_path / "2", *names)), "image")
    assert first.names == second.names
    assert len(set(first.names)) == len(names)
    named = dict(zip([location.rpartition("/")[2] for location in first.locations], first.names, strict=True))
    assert (named["A b.png"], named["ü.png"]) == ("a_b", "u")
    assert named["a.png"].startswith("a.")
    assert named["日本.png"].startswith("image.")
    assert max(map(len, first.names)) <= 44


def test_names_that_a_manifest_cannot_hold_are_left_out_and_counted(tmp_path):
    folder = fill(tmp_path, "a.png", "line\nbreak.png", os.fsdecode(b"caf\xe9.png"))
    images = open_media_list(str(folder), "image")
    assert images.names == ["a"]
    assert images.notes[0].startswith("left out files with names that a manifest cannot hold: 2")


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_members_of_an_archive_are_uris_that_stages_read(tmp_path, suffix):
    fill(tmp_path / "in", "x/1.png", "x/2 ?#%.png", "a::b.png", "x/1.txt", "._x.png", content=b"content")
    archive = tmp_path / f"faces 1.{suffix}"
    members = ["x/1.png", "x/2 ?#%.png", "a::b.png", "x/1.txt", "._x.png"]
    if suffix == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            for member in members:
                file.write(tmp_path / "in" / member, member)
            file.writestr("/absolute.png", b"x")
    else:
        with tarfile.open(archive, f"w:{suffix.partition('.')[2]}") as file:
            for member in members:
                file.add(tmp_path / "in" / member, member)

    images = open_media_list(str(archive), "image")
    scheme = suffix.partition(".")[0]
    assert images.locations == [f"{scheme}://x/1.png::{archive}", f"{scheme}://x/2 ?#%.png::{archive}"]
    assert images.names == ["x_1", "x_2"]
    assert images.folders == ["x", "x"]
    for location in images.locations:
        with local_file(location) as path:
            assert path.read_bytes() == b"content"


def test_a_glob_in_an_archive_is_written_as_a_chained_uri(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in ("good/1.wav", "good/1.txt", "bad/2.wav"):
            file.writestr(name, "words")
    monkeypatch.chdir(tmp_path)
    audio = open_media_list("zip://good/*.wav::a.zip", "audio")
    assert audio.locations == [f"zip://good/1.wav::{tmp_path}/a.zip"]
    assert audio.columns.to_pydict() == {"text": ["words"]}


def test_a_damaged_archive_and_missing_sources_give_one_sentence(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"no archive")
    with pytest.raises(ManifestError, match=r"manifest_unreadable: .*a\.zip: cannot be read"):
        open_media_list(str(tmp_path / "a.zip"), "image")
    for name in ("none", "none.tar", "none.csv"):
        with pytest.raises(ManifestError, match="manifest_missing"):
            open_media_list(str(tmp_path / name), "image")
    with pytest.raises(ManifestError, match=r"media_none: .* no picture found; expected a folder"):
        open_media_list(str(tmp_path / "*.png"), "image")


def test_a_bucket_gives_uris():
    fsspec.filesystem("memory").pipe({"/voices/a.wav": b"x", "/voices/a.txt": b"Hello", "/voices/sub/b.mp3": b"x"})
    audio = open_media_list("memory://voices", "audio")
    assert audio.locations == ["memory:///voices/a.wav", "memory:///voices/sub/b.mp3"]
    assert audio.columns.to_pydict() == {"text": ["Hello", None]}


def test_a_text_next_to_a_sound_is_its_caption(tmp_path):
    folder = fill(tmp_path, "a.wav", "b.flac", "c.mp3", "sub/a.wav")
    (folder / "a.txt").write_bytes("\ufeffGrüße, Welt\n".encode())
    (folder / "b.TXT").write_text(" \n")
    for source in (str(folder), f"{folder}/*.*"):
        audio = open_media_list(source, "audio")
        assert audio.columns["text"].to_pylist()[:3] == ["Grüße, Welt", None, None]
    assert open_media_list(str(fill(tmp_path / "images", "a.png", "a.txt")), "image").columns.num_columns == 0


def test_a_caption_that_is_a_pipe_does_not_block(tmp_path):
    fill(tmp_path, "a.wav")
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(ManifestError, match="is not a regular file"):
        open_media_list(str(tmp_path), "audio")


def test_links_to_files_are_followed_and_links_to_folders_are_not(tmp_path):
    fill(tmp_path, "in/sub/a.png", "b.png")
    (tmp_path / "in/sub/up").symlink_to("../..")
    (tmp_path / "in/link.png").symlink_to("../b.png")
    assert open_media_list(str(tmp_path / "in"), "image").names == ["link", "sub_a"]


def test_one_archive_may_hold_both_sides_which_match_by_their_stems(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in ("0.jpg", "0.wav", "1.jpg", "1.wav", "1.txt"):
            file.writestr(name, "words")
    images, audio = (open_media_list(str(tmp_path / "a.zip"), kind) for kind in ("image", "audio"))
    plan = plan_pairs(images, audio, match=[("stem", "stem")])
    assert [indices.tolist() for indices in plan.compute_pairs(0, 9)] == [[0, 1], [0, 1]]
    assert audio.columns["text"].to_pylist() == [None, "words"]


@pytest.mark.parametrize(("content", "code"), [(b"\xff\xfe", "text_not_utf8"), (bytes(1 << 21), "text_too_long")])
def test_a_caption_that_is_no_text_is_refused(tmp_path, content, code):
    fill(tmp_path, "a.wav")
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ManifestError, match=code):
        open_media_list(str(tmp_path), "audio")


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_a_table_needs_one_path_column_and_passes_the_others_through(tmp_path, suffix):
    rows = [
        {"image": "faces/a.png", "record_id": "Anna", "person": "anna", "mode": "human", "cfg_scale": 2.5},
        {"image": "/data/x/ben/1.png", "person": "ben", "mode": None, "cfg_scale": None},
        {"image": "s3://bucket/cleo.png", "person": None, "mode": "animal", "cfg_scale": None},
    ]
    images = open_media_list(str(write(tmp_path / f"faces.{suffix}", rows)), "image")
    assert images.locations == [str(tmp_path / "faces/a.png"), "/data/x/ben/1.png", "s3://bucket/cleo.png"]
    assert images.names == ["anna", "ben_1", "bucket_cleo"]
    columns = images.columns.to_pydict()
    assert columns["mode"] == ["human", None, "animal"]
    assert columns["cfg_scale"] == [2.5, None, None]
    assert images.get_keys("person").to_pylist() == ["anna", "ben", None]


def test_a_manifest_of_pairs_may_be_either_side_and_repeated_rows_are_left_out(tmp_path):
    rows = [{"image": f"{number}.png", "audio": "a.wav", "text": "words", "record_id": number} for number in range(3)]
    audio = open_media_list(str(write(tmp_path / "pairs.csv", rows)), "audio")
    assert len(audio) == 1
    assert audio.columns.to_pydict() == {"text": ["words"]}
    assert audio.notes == ("left out rows with the audio of an earlier row: 2",)


def test_a_folder_without_media_may_hold_tables(tmp_path):
    write(tmp_path / "speaker=anna/part.csv", [{"audio": "a.wav"}])
    write(tmp_path / "speaker=ben/part.csv", [{"audio": "b.wav"}])
    audio = open_media_list(str(tmp_path), "audio")
    assert audio.columns.to_pydict() == {"speaker": ["anna", "ben"]}


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"audio": "a.wav", "text": "x"}, "manifest_columns: .*expected image: rename or add it"),
        ({"image": ""}, "missing_value: .*image .*is empty"),
        ({"image": "a.png", "mode": "fish"}, "unknown_mode: t.csv, line 2: mode 'fish' expected human or animal"),
    ],
)
def test_a_bad_table_gives_one_sentence(tmp_path, row, sentence):
    with pytest.raises(ManifestError, match=sentence):
        open_media_list(str(write(tmp_path / "t.csv", [{**row, "other": 1}])), "image")
