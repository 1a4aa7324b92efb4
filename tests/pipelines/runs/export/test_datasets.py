"""Exported data sets load with the libraries that others use, whatever is null where."""

import json

import pytest

from pipelines.runs.export.config import ExportConfig
from pipelines.runs.export.export import export_dataset
from tests.pipelines.runs.export.made_runs import SYNC_MISSING_ROWS, make_numbered_run, read_video, write_selection

pytestmark = pytest.mark.slow  # `datasets` alone takes seconds to import
REASON = "not installed: pip install datasets webdataset"
OPTIONS = [("webdataset", "embed"), ("parquet", "embed"), ("parquet", "files"), ("folder", "embed")]
EACH_FORMAT = pytest.mark.parametrize(("format", "media"), OPTIONS)
BUILDERS = {"webdataset": "webdataset", "parquet": "parquet", "folder": "videofolder"}
SMALL = 20_000  # bytes per shard: three shards or more in `train`


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    datasets = pytest.importorskip("datasets", reason=REASON)
    datasets.disable_progress_bars()
    datasets.config.HF_DATASETS_CACHE = tmp_path_factory.mktemp("cache")
    return datasets


@pytest.fixture(scope="module")
def selection(tmp_path_factory):
    """Rows of two runs with equal ids in two splits; all rows of `val` and the first of `train` have nulls."""
    root = tmp_path_factory.mktemp("runs")
    make_numbered_run(root / "a", 16)
    make_numbered_run(root / "b", 9, content=lambda record_id: read_video(record_id, "b"))
    splits = ["val" if 2 <= index < SYNC_MISSING_ROWS else "train" for index in range(25)]
    return write_selection(root / "selection.parquet", [root / "a", root / "b"], splits)


def read_content(value):
    if value["bytes"] is not None:
        return value["bytes"]
    with open(value["path"], "rb") as file:
        return file.read()


def check(datasets, data, format, media):
    """Check the rows and the videos of a loaded data set."""
    assert {name: len(split) for name, split in data.items()} == {"train": 20, "validation": 5}
    column = "mp4" if format == "webdataset" else "video"
    content = {}
    for split in data.values():
        assert isinstance(split.features[column], datasets.Video)
        split = split.remove_columns([name for name in ("portrait", "audio") if name in split.features])
        for sample in split.cast_column(column, datasets.Video(decode=False)):
            row = sample["json"] if format == "webdataset" else sample
            content[row["run"], row["record_id"]] = read_content(sample[column]), row
    assert len(content) == 25
    for (run, record_id), (video, row) in content.items():
        assert video == read_video(record_id, "b" if run == "b" else "")
        index = int(record_id[1:])
        if index >= SYNC_MISSING_ROWS:
            assert float(row["metric_sync_c"]) == 3.5 + index
            assert row["text"] == f"句 {index}: naïve"
            assert int(row["age"]) == index
        elif format == "parquet":
            assert (row["metric_sync_c"], row["text"], row["age"], row["never"]) == (None, None, None, None)
        else:
            assert (row["metric_sync_c"], row["age"], row["text"]) == ("", "", "")
            assert {"metric_sync_c", "text", "age", "never"} <= {*json.loads(row["null_columns"])}


@EACH_FORMAT
def test_a_data_set_loads_by_its_path_alone(datasets, selection, tmp_path, format, media):
    export_dataset(str(selection), str(tmp_path / "data"), ExportConfig(format, media, SMALL))
    data = datasets.load_dataset(str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))
    check(datasets, data, format, media)


@EACH_FORMAT
def test_a_data_set_loads_by_the_name_of_its_format(datasets, selection, tmp_path, format, media):
    export_dataset(str(selection), str(tmp_path / "data"), ExportConfig(format, media, SMALL))
    builder = "videofolder" if media == "files" else BUILDERS[format]
    data = datasets.load_dataset(builder, data_dir=str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))
    check(datasets, data, format, media)


@EACH_FORMAT
def test_a_data_set_streams(datasets, selection, tmp_path, format, media):
    export_dataset(str(selection), str(tmp_path / "data"), ExportConfig(format, media, SMALL))
    data = datasets.load_dataset(str(tmp_path / "data"), streaming=True)
    assert {name: sum(1 for _ in split.decode(False)) for name, split in data.items()} == {"train": 20, "validation": 5}


def test_portraits_and_recordings_load_as_images_and_sound(datasets, selection, tmp_path):
    export_dataset(str(selection), str(tmp_path / "data"), ExportConfig("parquet", "embed", SMALL))
    data = datasets.load_dataset(str(tmp_path / "data"), split="train", cache_dir=str(tmp_path / "cache"))
    assert isinstance(data.features["portrait"], datasets.Image)
    assert isinstance(data.features["audio"], datasets.Audio)
    sample = data.cast_column("audio", datasets.Audio(decode=False)).cast_column(
        "portrait", datasets.Image(decode=False)
    )
    sample = sample.remove_columns("video")[0]
    assert (sample["audio"]["bytes"], sample["portrait"]["bytes"]) == (b"speech 0", b"portrait 0")


def test_tar_files_load_with_webdataset_and_a_torch_loader(selection, tmp_path):
    webdataset = pytest.importorskip("webdataset", reason=REASON)
    from torch.utils.data import DataLoader

    export_dataset(str(selection), str(tmp_path), ExportConfig("webdataset", "embed", SMALL))
    files = sorted(map(str, tmp_path.glob("train/*.tar")))
    assert len(files) >= 3
    samples = webdataset.WebDataset(files, shardshuffle=False).decode().to_tuple("mp4", "json", "txt")
    rows = [row for batch in DataLoader(samples, batch_size=4, collate_fn=list) for row in batch]
    assert len(rows) == 20
    for video, row, text in rows:
        assert video == read_video(row["record_id"], "b" if row["run"] == "b" else "")
        assert text == row["text"]
