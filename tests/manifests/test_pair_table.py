from dataclasses import asdict

import pyarrow.parquet as pq
import pytest

from manifests import pair_table
from manifests.manifest import open_manifest
from manifests.media_lists import open_media_list
from manifests.pair_table import open_output, write_pairs
from manifests.pairing import plan_pairs
from manifests.problems import ManifestError
from manifests.scan import Scan
from tests.manifests.tables import write


def write_table(images, audio, output, **options):
    lists = open_media_list(str(images), "image"), open_media_list(str(audio), "audio")
    storage, name = open_output(str(output), [str(images), str(audio)])
    summary = write_pairs(plan_pairs(*lists, **options), *lists, storage, name)
    return pq.read_table(output), summary


@pytest.fixture
def media(tmp_path):
    for name in ("faces/anna.png", "faces/Ben.jpg", "voices/1.wav", "voices/2.flac", "voices/3.mp3"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "voices/2.txt").write_text("Two.")
    return tmp_path


def test_pairs_are_a_manifest_with_readable_ids_and_paths_relative_to_it(media):
    table, summary = write_table(media / "faces", media / "voices", media / "pairs.parquet")
    assert table.slice(0, 2).to_pylist() == [
        {"record_id": "ben--1", "image": "faces/Ben.jpg", "audio": "voices/1.wav", "text": None},
        {"record_id": "ben--2", "image": "faces/Ben.jpg", "audio": "voices/2.flac", "text": "Two."},
    ]
    assert asdict(summary) == {
        "pairs": 6,
        "images": {"entries": 2, "used": 2, "fewest": 3, "most": 3},
        "audio": {"entries": 3, "used": 3, "fewest": 2, "most": 2},
    }
    scan = Scan(open_manifest(media / "pairs.parquet"))
    records = [record for block in scan.blocks() for record in block.records]
    assert records[0].image == str(media / "faces/Ben.jpg")
    assert scan.summary.bad_rows == 0


def test_files_elsewhere_have_absolute_paths(media):
    table, _ = write_table(media / "faces", media / "voices", media / "faces/pairs.parquet")
    assert table["image"][0].as_py() == "Ben.jpg"
    assert table["audio"][0].as_py() == str(media / "voices/1.wav")


def test_a_sample_in_small_row_groups_gives_the_same_bytes_each_time(media, monkeypatch):
    monkeypatch.setattr(pair_table, "ROW_GROUP", 2)
    contents = []
    for _ in range(2):
        write_table(media / "faces", media / "voices", media / "pairs.parquet", sample=5, seed=4)
        contents.append((media / "pairs.parquet").read_bytes())
    assert contents[0] == contents[1]
    assert pq.ParquetFile(media / "pairs.parquet").num_row_groups == 3


def test_columns_of_both_sides_get_a_prefix_and_the_text_is_that_of_the_sound(tmp_path):
    images = [{"image": "a.png", "speaker": "anna", "age": 30, "text": "a woman", "mode": "human", "seed": 7}]
    audio = [{"audio": "b.wav", "speaker": "ben", "text": "Hello.", "image": "b.png", "video": "b.mp4"}]
    sources = write(tmp_path / "i.jsonl", images), write(tmp_path / "a.parquet", audio)
    table, _ = write_table(*sources, tmp_path / "pairs.parquet")
    assert table.to_pylist() == [
        {
            "record_id": "a--b",
            "image": "a.png",
            "audio": "b.wav",
            "age": 30,
            "image_speaker": "anna",
            "image_text": "a woman",
            "mode": "human",
            "seed": 7,
            "audio_speaker": "ben",
            "text": "Hello.",
        }
    ]


def test_the_mode_is_that_of_the_portrait(tmp_path):
    rows = [{"image": "cat.png", "audio": "a.wav", "mode": "animal"}, {"image": "b.png", "audio": "b.wav"}]
    manifest = write(tmp_path / "old.jsonl", rows)
    table, _ = write_table(manifest, manifest, tmp_path / "pairs.parquet")
    assert table.select(["image", "mode"]).to_pylist()[::2] == [
        {"image": "cat.png", "mode": "animal"},
        {"image": "b.png", "mode": None},
    ]
    assert table["audio_mode"].to_pylist() == ["animal", None] * 2


def test_a_bucket_gets_the_table_and_absolute_paths(media):
    lists = open_media_list(str(media / "faces"), "image"), open_media_list(str(media / "voices"), "audio")
    write_pairs(plan_pairs(*lists), *lists, *open_output("memory://bucket/pairs.parquet", []))
    scan = Scan(open_manifest("memory://bucket/pairs.parquet"))
    records = [record for block in scan.blocks() for record in block.records]
    assert (len(records), records[0].audio) == (6, str(media / "voices/1.wav"))


def test_a_prefixed_name_that_exists_is_refused(tmp_path):
    images = write(tmp_path / "i.csv", [{"image": "a.png", "speaker": "anna", "image_speaker": "x"}])
    audio = write(tmp_path / "a.csv", [{"audio": "b.wav", "speaker": "ben"}])
    with pytest.raises(ManifestError, match="column image_speaker twice"):
        write_table(images, audio, tmp_path / "pairs.parquet")
    assert not (tmp_path / "pairs.parquet").exists()


def test_an_input_is_not_replaced_and_other_formats_are_refused(tmp_path):
    path = write(tmp_path / "pairs.parquet", [{"image": "a.png", "audio": "b.wav"}])
    with pytest.raises(ManifestError, match="output_is_input"):
        open_output(str(path), [str(tmp_path / "x" / ".." / "pairs.parquet"), str(path)])
    with pytest.raises(ManifestError, match="output_format"):
        open_output(str(tmp_path / "pairs.csv"), [])
