"""Runs over data sets whose media are in tables and archives, and exports that are read again."""

import io
import json
import shutil
import sys
import tarfile
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import manifests
from manifests.manifest import open_manifest
from manifests.problems import ManifestError
from manifests.record import speech_path
from manifests.scan import Scan
from pipelines.runs.config import build_option_columns
from pipelines.runs.evaluate import evaluate_videos
from pipelines.runs.export.config import ExportConfig
from pipelines.runs.export.export import export_dataset
from pipelines.runs.generate import generate_videos
from tests.media import write_tone
from tests.pipelines.runs.small_runs import make_config, read_rows

pytestmark = pytest.mark.slow
EXAMPLES = Path(manifests.__file__).parent / "examples"
SPEAKER = """
import shutil, sys
open({log!r}, "a").write(f"{{open(sys.argv[1]).read()}} {{sys.argv[3]}}|")
shutil.copy({sound!r}, sys.argv[2])
"""
MEDIA = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Two portraits and two recordings of half a second."""
    folder = tmp_path_factory.mktemp("media")
    sounds = []
    for number in range(2):
        write_tone(folder / f"{number}.wav", seconds=0.5, rate=16_000 + number)
        sounds.append((folder / f"{number}.wav").read_bytes())
    return [(EXAMPLES / name).read_bytes() for name in ("officer.jpg", "portrait.jpg")], sounds


@pytest.fixture(params=["parquet", "webdataset"])
def source(request, media, tmp_path):
    """A data set of three rows, of which the last has no picture."""
    pictures, sounds = media
    rows = [(pictures[0], sounds[0], "naïve"), (pictures[1], sounds[1], None), (b"no picture", sounds[0], "x")]
    if request.param == "parquet":
        table = pa.table(
            {
                "record_id": ["r0", "r1", "r2"],
                "image": pa.array([{"bytes": picture, "path": "p.jpg"} for picture, _, _ in rows], MEDIA),
                "audio": pa.array([sound for _, sound, _ in rows]),
                "text": [text for _, _, text in rows],
            }
        )
        pq.write_table(table, tmp_path / "set.parquet", row_group_size=2)
        return tmp_path / "set.parquet"
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for number, (picture, sound, text) in enumerate(rows):
            description = json.dumps({"record_id": f"r{number}", "text": text}).encode()
            for suffix, content in (("jpg", picture), ("wav", sound), ("json", description)):
                entry = tarfile.TarInfo(f"{number}.{suffix}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return tmp_path / "set.tar"


def test_texts_without_sound_are_spoken_once_and_exported(media, tmp_path):
    shutil.copy(EXAMPLES / "officer.jpg", tmp_path / "a.jpg")
    (tmp_path / "s.wav").write_bytes(media[1][0])
    (tmp_path / "speaker.py").write_text(SPEAKER.format(log=str(tmp_path / "log"), sound=str(tmp_path / "s.wav")))
    (tmp_path / "m.csv").write_text(
        "record_id,image,audio,text,voice\n"
        'a,a.jpg,,"Hi, you",\nb,a.jpg,,"Hi, you",\nc,a.jpg,s.wav,,ann\nd,a.jpg,,"Hi, you",ben\n'
    )

    config = make_config(f"tts='{sys.executable} {tmp_path}/speaker.py {{text}} {{sound}} {{voice}}'", "tts_voice=ann")
    assert generate_videos(tmp_path / "m.csv", tmp_path / "run", config).counts.statuses == {"ok": 4}
    assert sorted((tmp_path / "log").read_text().split("|")) == ["", "Hi, you ann", "Hi, you ben"]
    spoken = [speech_path("Hi, you", voice) for voice in (None, "ben")]
    assert {path.name for path in (tmp_path / "run" / "speech").iterdir()} == {Path(path).name for path in spoken}
    rows = read_rows(tmp_path / "run")
    assert [rows[name]["audio"] for name in "abcd"] == [None, None, "s.wav", None]
    assert [rows[name]["tts_voice"] for name in "abcd"] == ["ann", "ann", None, "ben"]
    assert {row["audio_sha256"] for row in rows.values()} == {sha256(media[1][0]).hexdigest()}
    assert rows["a"]["seconds_speak"] is not None

    notes = export_dataset(str(tmp_path / "run"), str(tmp_path / "set"), ExportConfig("parquet")).notes
    assert not [note for note in notes if "missing" in note]
    table = pq.read_table(tmp_path / "set" / "train" / "00000.parquet")
    assert [value["bytes"] for value in table.column("audio").to_pylist()] == [media[1][0]] * 4
    assert table.column("tts_voice").to_pylist() == ["ann", "ann", None, "ben"]

    (tmp_path / "run" / speech_path("Hi, you", "ben")).unlink()
    notes = export_dataset(str(tmp_path / "run"), str(tmp_path / "less"), ExportConfig("parquet")).notes
    assert [note for note in notes if "missing" in note] == [
        "rows whose audio cannot be read or is missing, and is null: 1"
    ]
    with pytest.raises(ManifestError, match=r"3 of 4 rows are bad .*text is not spoken"):
        generate_videos(tmp_path / "m.csv", tmp_path / "other", make_config())


def test_a_data_set_becomes_videos_and_a_data_set_that_is_read_again(source, media, tmp_path):
    pictures, sounds = media
    result = generate_videos(source, tmp_path / "run", make_config())
    assert result.counts.statuses == {"ok": 2, "failed": 1}
    rows = read_rows(tmp_path / "run")
    for number in range(2):
        assert rows[f"r{number}"]["image_sha256"] == sha256(pictures[number]).hexdigest()
        assert rows[f"r{number}"]["audio_sha256"] == sha256(sounds[number]).hexdigest()
    assert [rows[f"r{number}"]["text"] for number in range(3)] == ["naïve", None, "x"]
    assert rows["r2"]["error_code"] == "image_unreadable"
    assert rows["r2"]["error"].startswith(("cell://image/3::", "tar://2.jpg::"))
    assert f"::{source.name}" in rows["r0"]["image"]
    assert not [path for path in (tmp_path / "run").rglob("*") if path.is_file() and path.suffix == ".jpg"]

    export_dataset(str(tmp_path / "run"), str(tmp_path / "set"), ExportConfig("parquet"))
    table = pq.read_table(tmp_path / "set" / "train" / "00000.parquet")
    assert [value["bytes"] for value in table.column("portrait").to_pylist()] == pictures
    assert [value["bytes"] for value in table.column("audio").to_pylist()] == sounds

    config = make_config("metrics=[sharpness]")
    assert evaluate_videos(tmp_path / "set", tmp_path / "again", "again", config).counts.statuses == {"ok": 2}
    again = read_rows(tmp_path / "again")
    assert {row["sha256"] for row in again.values()} == {rows["r0"]["sha256"], rows["r1"]["sha256"]}
    assert {row["split"] for row in again.values()} == {"train"}

    for name in ("set", "run/manifest.parquet"):
        scan = Scan(open_manifest(tmp_path / name), options=build_option_columns(config.animation))
        assert not [problem for block in scan.blocks() for problem in block.problems]
