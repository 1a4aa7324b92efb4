"""Exports are complete, resumable and identical when they are repeated."""

import hashlib
import json
import shlex
import shutil
import subprocess
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from joyvasa.errors import InputError
from manifests.problems import ManifestError
from pipelines.runs.export import export as export_module
from pipelines.runs.export.config import ExportConfig
from pipelines.runs.export.export import export_dataset
from pipelines.runs.export.formats import webdataset
from pipelines.runs.selection.options import SelectionOptions
from pipelines.runs.selection.selection import select_rows
from pipelines.runs.selection.selection_files import write_selection as write_selection_file
from tests.pipelines.runs.export.made_runs import (
    NAMES,
    SYNC_MISSING_ROWS,
    inputs_folder,
    make_numbered_run,
    make_row,
    make_run,
    read_tree,
    read_video,
    write_selection,
)

SMALL = 20_000  # bytes: four or five records with their assumed rows
OPTIONS = [("webdataset", "embed"), ("parquet", "embed"), ("parquet", "files"), ("folder", "embed")]
EACH_FORMAT = pytest.mark.parametrize(("format", "media"), OPTIONS)


def export(source, out, format="webdataset", media="embed", **options):
    return export_dataset(str(source), str(out), ExportConfig(format, media, options.pop("size", SMALL), **options))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs whose record ids overlap."""
    root = tmp_path_factory.mktemp("runs")
    make_numbered_run(root / "a", 13, failed=["r002"])
    make_numbered_run(root / "b", 9, content=lambda record_id: read_video(record_id, "b"))
    return root


@pytest.fixture(scope="module")
def selection(runs):
    return write_selection(runs / "selection.parquet", [runs / "a", runs / "b"], ["train", "train", "val"])


@EACH_FORMAT
def test_a_second_export_writes_identical_files(selection, tmp_path, format, media):
    for name in ("first", "second"):
        export(selection, tmp_path / name, format, media)
    assert read_tree(tmp_path / "first") == read_tree(tmp_path / "second")
    assert (
        export(selection, tmp_path / "first", format, media).kept
        == export(selection, tmp_path / "x", format, media).shards
    )
    assert read_tree(tmp_path / "first") == read_tree(tmp_path / "second")


@EACH_FORMAT
def test_checksums_list_every_file(selection, tmp_path, format, media):
    export(selection, tmp_path, format, media)
    files = {name: hashlib.sha256(content).hexdigest() for name, content in read_tree(tmp_path).items()}
    files.pop("checksums.sha256")
    lines = (tmp_path / "checksums.sha256").read_text().splitlines()
    assert dict(reversed(line.split("  ")) for line in lines) == files
    assert len(lines) == len(files)
    subprocess.run(["sha256sum", "--quiet", "-c", "checksums.sha256"], cwd=tmp_path, check=True)


@EACH_FORMAT
def test_a_shard_holds_whole_records_up_to_its_size(runs, tmp_path, format, media):
    assert export(runs / "a", tmp_path / "one", format, media, size=1).shards == 12
    assert export(runs / "a", tmp_path / "all", format, media, size=10**9).shards == 1
    assert export(runs / "a", tmp_path / "few", format, media).shards == 3


def test_an_interrupted_export_keeps_its_finished_shards(runs, tmp_path, monkeypatch):
    export(runs / "a", tmp_path / "whole")
    written, original = [], webdataset.TarWriter.write_shard

    def fail_at_third(self, shard):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(shard.name)
        return original(self, shard)

    monkeypatch.setattr(webdataset.TarWriter, "write_shard", fail_at_third)
    with pytest.raises(KeyboardInterrupt):
        export(runs / "a", tmp_path / "cut")
    assert not (tmp_path / "cut/checksums.sha256").exists()
    (tmp_path / "cut/train/.partial-1-x.tar").write_bytes(b"left by a killed process")

    monkeypatch.setattr(webdataset.TarWriter, "write_shard", original)
    assert export(runs / "a", tmp_path / "cut").kept == 2
    assert read_tree(tmp_path / "cut") == read_tree(tmp_path / "whole")


@EACH_FORMAT
def test_files_of_an_earlier_larger_export_are_removed(runs, selection, tmp_path, format, media):
    export(selection, tmp_path / "data", format, media)
    small = write_selection(tmp_path / "selection.parquet", [runs / "b"])
    export(small, tmp_path / "data", format, media)
    export(small, tmp_path / "fresh", format, media)
    assert read_tree(tmp_path / "data") == read_tree(tmp_path / "fresh")


def test_a_damaged_shard_is_written_again(runs, tmp_path):
    export(runs / "a", tmp_path)
    before = read_tree(tmp_path)
    (tmp_path / "train/00001.tar").write_bytes(b"short")
    assert export(runs / "a", tmp_path).kept == 2
    assert read_tree(tmp_path) == before


def test_a_data_set_that_is_written_again_has_no_checksums_until_its_end(runs, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    export(runs / "a", tmp_path)
    before = read_tree(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(export_module, "_write_checksums", interrupt)
        with pytest.raises(KeyboardInterrupt):
            export(runs / "a", tmp_path, license="mit")
    assert (tmp_path / "README.md").read_bytes() != before["README.md"]
    assert not (tmp_path / "checksums.sha256").exists()
    export(runs / "a", tmp_path)
    assert read_tree(tmp_path) == before


def test_a_folder_with_other_content_is_refused(runs, tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ManifestError, match=r"output_exists: .*other files, such as thesis\.tex"):
        export(runs / "a", tmp_path)
    export(runs / "a", tmp_path / "data")
    with pytest.raises(ManifestError, match=r"output_exists: .*format webdataset.*choose another folder"):
        export(runs / "a", tmp_path / "data", "parquet")


def test_every_parquet_shard_has_one_schema_with_nulls(selection, tmp_path):
    export(selection, tmp_path, "parquet")
    files = sorted(tmp_path.glob("*/*.parquet"))
    assert len({pq.read_schema(file).serialize().to_pybytes() for file in files}) == 1
    table = pq.read_table(tmp_path / "train")
    row = next(row for row in table.to_pylist() if (row["run"], row["record_id"]) == ("b", "r001"))
    assert row["video"]["bytes"] == read_video("r001", "b")
    assert row["audio"]["bytes"] == b"speech 1"
    assert row["portrait"]["bytes"] == b"portrait 1"
    assert (row["text"], row["age"], row["metric_sync_c"], row["never"]) == (None, None, None, None)


def test_json_has_the_same_keys_and_types_in_every_row(selection, tmp_path):
    export(selection, tmp_path, size=10**9)
    rows = []
    for file in sorted(tmp_path.glob("*/*.tar")):
        with tarfile.open(file) as tar:
            rows += [json.load(tar.extractfile(name)) for name in tar.getnames() if name.endswith(".json")]
    assert len({tuple((name, type(value)) for name, value in row.items()) for row in rows}) == 1
    late = next(row for row in rows if row["record_id"] == f"r{SYNC_MISSING_ROWS:03d}")
    assert (late["text"], late["age"], late["big"]) == ("句 7: naïve", "7", str(2**53 + 7))
    assert (late["indoor"], json.loads(late["licenses"])) == ("true", ["MIT"])
    assert json.loads(late["null_columns"])[-1] == "never"


def test_no_path_of_this_machine_is_published(selection, tmp_path):
    export(selection, tmp_path, "folder")
    for name, content in read_tree(tmp_path).items():
        assert str(tmp_path.parent).encode() not in content, name
        assert str(selection.parent).encode() not in content, name


@EACH_FORMAT
def test_hostile_ids_stay_inside_the_data_set(tmp_path, format, media):
    rows = [make_row(index, inputs_folder(tmp_path / "run"), name) for index, name in enumerate(NAMES)]
    make_run(tmp_path / "run", rows)
    export(tmp_path / "run", tmp_path / "out/data", format, media)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["data"]
    if format == "webdataset":
        names = [
            name for tar in sorted((tmp_path / "out/data").glob("*/*.tar")) for name in tarfile.open(tar).getnames()
        ]
        assert len({*names}) == 3 * len(NAMES)
        assert all("/" not in name and name.count(".") == 1 for name in names)
    if format == "folder":
        lines = (tmp_path / "out/data/train/metadata.jsonl").read_text().splitlines()
        rows = {row["record_id"]: row["file_name"] for row in map(json.loads, lines)}
        assert {name: (tmp_path / "out/data/train" / file).read_bytes() for name, file in rows.items()} == {
            name: read_video(name) for name in NAMES
        }


def test_a_path_in_a_row_cannot_leave_its_run(runs, tmp_path):
    table = pq.read_table(write_selection(tmp_path / "selection.parquet", [runs / "a"]))
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    columns = {"video": "../../secret", "image": str(secret), "image_sha256": "../../secret"}
    for name, value in columns.items():
        index = table.schema.get_field_index(name)
        table = table.set_column(index, name, [[value] * table.num_rows])
    pq.write_table(table, tmp_path / "selection.parquet")
    export(tmp_path / "selection.parquet", tmp_path / "data", "folder")
    assert b"secret" not in b"".join(
        c for name, c in read_tree(tmp_path / "data").items() if name.endswith(("mp4", "jpg"))
    )
    assert not [*(tmp_path / "data/inputs").glob("portraits/*/*")]


def test_a_changed_video_stops_the_export_and_a_changed_input_is_null(tmp_path):
    make_numbered_run(tmp_path / "run", 9)
    (inputs_folder(tmp_path / "run") / "speech-3.wav").write_bytes(b"speech x")
    (inputs_folder(tmp_path / "run") / "speech-4.wav").unlink()
    result = export(tmp_path / "run", tmp_path / "data", "parquet")
    table = pq.read_table(tmp_path / "data/train", columns=["audio"])
    assert [n for n, value in enumerate(table.column("audio").to_pylist()) if value is None] == [3, 4]
    assert any(note == "rows whose audio cannot be read or is missing, and is null: 1" for note in result.notes)

    video = next((tmp_path / "run").glob("shards/*/videos/r005.mp4"))
    video.write_bytes(b"x" * video.stat().st_size)
    with pytest.raises(InputError, match=r"media_changed: .*r005\.mp4"):
        export(tmp_path / "run", tmp_path / "other")
    assert [path.name for path in (tmp_path / "other/train").iterdir()] == ["00000.tar"]


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ("split", ["dev"], "is in split 'dev'|is in split dev"),
        ("status", ["failed"], "has status failed"),
        ("run", [None], "a row has no run"),
        ("record_id", ["r000"], "occurs twice"),
        ("record_id", [3], "column record_id has type"),
        ("shard", ["x"], "column shard has type"),
    ],
)
def test_a_selection_that_cannot_be_exported_is_refused_before_anything_is_written(
    runs, tmp_path, column, values, expected
):
    path = write_selection(tmp_path / "selection.parquet", [runs / "a"], ["train"])
    table = pq.read_table(path)
    table = table.set_column(table.schema.get_field_index(column), column, [values * table.num_rows])
    pq.write_table(table, path)
    with pytest.raises(InputError, match=f"selection_invalid: .*({expected})"):
        export(path, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_what_is_no_run_and_no_selection_is_refused(tmp_path):
    with pytest.raises(ManifestError, match=r"run_missing: .*nothing: holds no run\.yaml and is no file"):
        export(tmp_path / "nothing", tmp_path / "data")
    (tmp_path / "file").write_bytes(b"no Parquet")
    with pytest.raises(InputError, match=r"selection_invalid: .*cannot be read as Parquet"):
        export(tmp_path / "file", tmp_path / "data")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match=r"selection_invalid: .*has no column record_id, shard, video, run"):
        export(tmp_path / "x.parquet", tmp_path / "data")


def test_a_run_without_ok_rows_is_refused(tmp_path):
    make_numbered_run(tmp_path / "run", 2, failed=["r000", "r001"])
    with pytest.raises(InputError, match="export_empty"):
        export(tmp_path / "run", tmp_path / "data")


def test_a_moved_run_is_exported_to_the_same_files(tmp_path):
    make_numbered_run(tmp_path / "run", 9)
    export(tmp_path / "run", tmp_path / "first", "parquet", inputs=False)
    shutil.move(tmp_path / "run", tmp_path / "moved/run")
    export(tmp_path / "moved/run", tmp_path / "second", "parquet", inputs=False)
    assert read_tree(tmp_path / "first") == read_tree(tmp_path / "second")


def test_videos_of_other_systems_are_exported_from_where_they_lie(tmp_path):
    from tests.pipelines.report.run_folders import ok_outcome, write_run

    (tmp_path / "videos").mkdir()
    for n in range(3):
        (tmp_path / f"videos/{n}.mp4").write_bytes(b"video %d" % n)
    rows = [{"record_id": f"v{n}", "video": f"videos/{n}.mp4"} for n in range(3)]
    write_run(tmp_path / "run", rows, ok_outcome, manifests=tmp_path, name="other system")
    export(tmp_path / "run", tmp_path / "data", "folder", accept_licenses=True)
    assert (tmp_path / "data/train/v1.mp4").read_bytes() == b"video 1"
    card = (tmp_path / "data/README.md").read_text()
    assert "generated by other system" in card


def test_the_card_has_metadata_figures_and_the_command(selection, tmp_path):
    export(selection, tmp_path, "parquet", license="cc-by-4.0")
    card = (tmp_path / "README.md").read_text()
    metadata = yaml.safe_load(card.split("---")[1])
    assert metadata["license"] == "cc-by-4.0"
    assert metadata["size_categories"] == ["n<1K"]
    assert metadata["configs"][0]["data_files"] == [
        {"split": "train", "path": "train/*.parquet"},
        {"split": "validation", "path": "val/*.parquet"},
    ]
    n_bytes = sum(len(cell["bytes"]) for cell in pq.read_table(tmp_path / "train").column("video").to_pylist())
    assert f"| train | 14 | 0.016 | 1,400 | 4 | {n_bytes:,} |" in card
    assert "joyvasa export selection.parquet --out DEST --format parquet --shard-size 20000 --license cc-by-4.0" in card
    assert "# selection.parquet: rows of these runs that another program chose" in card
    values = [1.0 + index for index in range(13) if index != 2] + [1.0 + index for index in range(9)]
    mean = sum(values) / len(values)
    half = 1.96 * (sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values)) ** 0.5
    assert f"| {mean:.4g} | {mean - half:.4g} to {mean + half:.4g} | 1 | 13 | 21 |" in card


def test_the_card_repeats_the_selection(tmp_path):
    make_run(tmp_path / "run", [make_row(number, inputs_folder(tmp_path / "run")) for number in range(4)])
    options = SelectionOptions(where=("frames > 1", "record_id != '```'"), per={"portrait": 3}, by="frames", top=2)
    write_selection_file(select_rows([str(tmp_path / "run")], options), str(tmp_path / "best.parquet"), [])
    export(tmp_path / "best.parquet", tmp_path / "data")
    card = (tmp_path / "data/README.md").read_text()
    (line,) = [line for line in card.splitlines() if line.startswith("joyvasa select")]
    assert shlex.split(line) == [
        *("joyvasa", "select", "run", "--where", "frames > 1", "--where", "record_id != '```'"),
        *("--per", "portrait=3", "--top", "2", "--by", "frames", "-o", "best.parquet"),
    ]


def test_texts_of_rows_are_no_markup_in_the_card(tmp_path):
    folder = inputs_folder(tmp_path / "run")
    rows = [{**make_row(0, folder), "image_license": "MIT | <img src=x onerror=alert(1)> [x](javascript:y)\n# z"}]
    make_run(tmp_path / "run", rows)
    export(tmp_path / "run", tmp_path / "data", accept_licenses=True)
    card = (tmp_path / "data/README.md").read_text()
    assert "<img" not in card
    assert "](javascript" not in card
    assert "\n# z" not in card
