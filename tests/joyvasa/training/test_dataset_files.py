from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.numpy import save_file

from joyvasa.errors import InputError
from joyvasa.training.clips import ClipRecord, assign_split, to_pcm16
from joyvasa.training.dataset import Dataset
from joyvasa.training.dataset_files import INDEX_SCHEMA, DatasetWriter, read_card
from manifests.storage import open_storage
from tests.joyvasa.training.small import small_clip, small_dataset

EXTRACTOR = {"name": "none", "fingerprint": "0"}


@pytest.fixture
def files(tmp_path):
    return open_storage(tmp_path)


def write_dataset(files, *shards):
    writer = DatasetWriter(files)
    for number, clips in enumerate(shards):
        writer.write_shard(number, clips)
    writer.finish(extractor=EXTRACTOR)
    return Dataset(files)


def test_a_clip_is_read_as_it_was_written(files):
    clip = replace(
        small_clip(3),
        start_s=1.5,
        eye_ratio=np.full((60, 2), 0.25, np.float32),
        lip_ratio=np.linspace(0, 1, 60, dtype=np.float32)[:, None],
    )
    dataset = write_dataset(files, [small_clip(1)], [small_clip(2), clip])
    location = next(item for item in dataset.clips("train") if item.clip_id == clip.clip_id)
    loaded = dataset.read(location)
    for name in ("expression", "scale", "translation", "pitch", "yaw", "roll"):
        assert torch.equal(getattr(loaded.motion, name), getattr(clip.motion, name))
    for name in ("sound", "eye_ratio", "lip_ratio"):
        assert np.array_equal(getattr(loaded, name), getattr(clip, name))
    assert (loaded.source, loaded.split, loaded.start_s, loaded.duration_s) == (clip.source, "train", 1.5, 2.4)


def test_the_card_counts_clips_and_frames(files):
    dataset = write_dataset(files, [small_clip(1), small_clip(2, split="validation")], [], [small_clip(3, n_frames=90)])
    card = dataset.card
    assert dict(card.clips) == {"train": 2, "validation": 1}
    assert dict(card.frames) == {"train": 150, "validation": 60}
    assert (card.shards, card.keypoints, card.frames_per_second) == (3, 21, 25)
    assert yaml.safe_load(files.read("dataset.yaml"))["hours"] == pytest.approx(210 / 25 / 3600, abs=1e-3)


def test_statistics_and_order_do_not_depend_on_the_distribution_over_shards(tmp_path):
    clips = [small_clip(number) for number in range(4)]
    one = write_dataset(open_storage(tmp_path / "one"), clips)
    other = write_dataset(open_storage(tmp_path / "other"), [clips[3]], [clips[1], clips[0]], [clips[2]])
    assert one.card.fingerprint == other.card.fingerprint
    arrays = other.load_template_arrays()
    assert all(np.array_equal(values, arrays[name]) for name, values in one.load_template_arrays().items())
    assert [item.clip_id for item in one.clips("train")] == [item.clip_id for item in other.clips("train")]


def test_ratios_have_statistics_only_if_every_clip_has_them(files):
    measured = replace(small_clip(1), lip_ratio=np.ones((60, 1), np.float32))
    assert "mean_lip" not in write_dataset(files, [measured, small_clip(2)]).load_template_arrays()


def test_an_interrupted_shard_does_not_appear(files):
    def clips():
        yield small_clip(1)
        raise RuntimeError("interrupted")

    writer = DatasetWriter(files)
    with pytest.raises(RuntimeError):
        writer.write_shard(0, clips())
    assert not writer.has_shard(0)
    assert files.names("motion") == []


def test_an_unfinished_data_set_is_an_error(files):
    DatasetWriter(files).write_shard(0, [small_clip(1)])
    with pytest.raises(InputError, match="dataset_missing"):
        Dataset(files)


def test_an_empty_data_set_is_an_error(files):
    writer = DatasetWriter(files)
    writer.write_shard(0, [])
    with pytest.raises(InputError, match="dataset_empty"):
        writer.finish(extractor=EXTRACTOR)


def test_duplicate_ids_are_an_error(files):
    writer = DatasetWriter(files)
    writer.write_shard(0, [small_clip(1)])
    writer.write_shard(1, [small_clip(1)])
    with pytest.raises(InputError, match="'clip-001' occurs 2 times"):
        writer.finish(extractor=EXTRACTOR)


def bad_motion(value):
    clip = small_clip(1)
    expression = clip.motion.expression.clone()
    expression[5, 3, 1] = value
    return replace(clip, motion=replace(clip.motion, expression=expression))


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (bad_motion(float("nan")), "clip_not_finite: clip 'clip-001': NaN"),
        (bad_motion(float("inf")), "clip_not_finite"),
        (replace(small_clip(1), sound=small_clip(1).sound[:-1]), "clip_sound_short: .*38399 samples"),
        (replace(small_clip(1), sound=np.zeros(60 * 640, np.float32)), "clip_invalid: .*float32 sound"),
        (replace(small_clip(1), clip_id="../clip"), "clip_invalid"),
        (replace(small_clip(1), split="test"), "clip_invalid: .*'test'"),
        (replace(small_clip(1), lip_ratio=np.zeros((3, 1), np.float32)), "clip_invalid: .*lip_ratio"),
        (small_clip(1, n_frames=1501), "clip_invalid: .*60.0 s"),
    ],
)
def test_bad_clips_are_refused(files, clip, message):
    with pytest.raises(InputError, match=message):
        DatasetWriter(files).write_shard(0, [clip])


def test_clips_with_another_number_of_keypoints_are_refused(files):
    with pytest.raises(InputError, match="21 keypoints at 25 frames per second; expected 20 at 25"):
        DatasetWriter(files, keypoints=20).write_shard(0, [small_clip(1)])


def test_motion_that_is_damaged_on_disk_is_an_error_when_it_is_read(files):
    dataset = write_dataset(files, [small_clip(1)])
    path = files.path("motion/00000.parquet")
    table = pq.read_table(path)
    values = table["pitch"].to_pylist()
    values[0][7] = float("nan")
    index, field = table.schema.get_field_index("pitch"), table.schema.field("pitch")
    table = table.set_column(index, field, pa.array(values, field.type))
    pq.write_table(table, path)
    with pytest.raises(InputError, match="clip_not_finite"):
        Dataset(files).read(dataset.clips("train")[0])


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        *((name, None, f"{name} is missing or negative") for name in INDEX_SCHEMA.names),
        *((name, -1, f"{name} is missing or negative") for name in ("n_frames", "shard", "row")),
        *((name, float("nan"), "truncated") for name in ("n_frames", "shard", "row")),
        ("n_frames", float("inf"), "truncated"),
        ("n_frames", 59.5, "truncated"),
        ("n_frames", "many", "Failed to parse"),
        ("n_frames", 59, "clips and frames by split"),
        ("split", "validation", "clips and frames by split"),
        ("split", "test", "clips and frames by split"),
        ("clip_id", "clip-001", "clips occur twice"),
    ],
)
def test_an_index_with_odd_values_is_refused_before_training(tmp_path, column, value, reason):
    dataset = small_dataset(tmp_path)
    table = pq.read_table(tmp_path / "clips.parquet")
    values = [value, *table[column].to_pylist()[1:]]
    if isinstance(value, str):
        values = [str(item) for item in values]
    pq.write_table(
        table.set_column(table.schema.get_field_index(column), column, pa.array(values)), tmp_path / "clips.parquet"
    )
    with pytest.raises(InputError, match=f"dataset_invalid: .*clips.parquet: .*{reason}"):
        Dataset(dataset.files)


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_an_index_of_another_writer_is_read(tmp_path, kind):
    dataset = small_dataset(tmp_path)
    table = pq.read_table(tmp_path / "clips.parquet")
    for name in ("clip_id", "source", "split"):
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(kind))
    pq.write_table(table, tmp_path / "clips.parquet")
    assert Dataset(dataset.files).clips("train") == dataset.clips("train")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *((name, None) for name in ("clip_id", "source", "n_frames", "start_s", "expression", "pitch", "sound")),
        ("source", b"\xff"),
        ("start_s", "early"),
        ("pitch", 3.5),
        ("pitch", [[0.0]]),
        ("expression", {"x": 1}),
        ("n_frames", float("nan")),
    ],
)
def test_a_clip_with_odd_values_is_an_error_when_it_is_read(files, column, value):
    dataset = write_dataset(files, [small_clip(1)])
    path = files.path("motion/00000.parquet")
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.schema.get_field_index(column), column, pa.array([value])), path)
    with pytest.raises(InputError, match="dataset_invalid"):
        dataset.read(dataset.clips("train")[0])


@pytest.mark.parametrize("name", ["fingerprint", "extractor", "about", "clips", "frames", "shards", "keypoints"])
@pytest.mark.parametrize("value", [None, float("nan"), -1, ["a"]])
def test_a_card_with_odd_values_is_refused(tmp_path, name, value):
    small_dataset(tmp_path)
    content = yaml.safe_load((tmp_path / "dataset.yaml").read_text())
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(content | {name: value}))
    with pytest.raises(InputError, match="dataset_invalid"):
        read_card(open_storage(tmp_path))


@pytest.mark.parametrize(
    ("name", "value"),
    [("std_exp", -1.0), ("std_exp", float("nan")), ("max_pitch", -1e6), ("min_t", float("inf")), ("mean_exp", None)],
)
def test_statistics_with_odd_values_are_refused(tmp_path, name, value):
    dataset = small_dataset(tmp_path)
    arrays = dataset.load_template_arrays()
    arrays[name] = np.full_like(arrays[name], value) if value is not None else np.zeros(4)
    save_file(arrays, tmp_path / "template.safetensors")
    with pytest.raises(InputError, match="dataset_invalid"):
        Dataset(dataset.files).load_template()


@pytest.mark.parametrize("file", ["dataset.yaml", "clips.parquet", "motion/00000.parquet", "template.safetensors"])
def test_truncated_files_are_an_error(tmp_path, file):
    dataset = small_dataset(tmp_path)
    path = tmp_path / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def read_all():
        damaged = Dataset(dataset.files)
        damaged.load_template()
        for location in damaged.clips("train"):
            damaged.read(location)

    with pytest.raises(InputError, match="dataset_invalid"):
        read_all()


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "format: joyvasa-dataset",
        "a: &a [1, 2]\nb: *a",
        "format: joyvasa-dataset\nformat_version: 1\nclips: 3",
        "\0",
    ],
)
def test_cards_of_another_format_are_refused(files, text):
    files.write("dataset.yaml", text.encode())
    with pytest.raises(InputError, match="dataset_invalid"):
        read_card(files)


def test_a_shard_with_the_name_of_another_one_is_an_error(tmp_path):
    dataset = small_dataset(tmp_path)
    (tmp_path / "motion/00000.parquet").replace(tmp_path / "motion/00001.parquet")
    location = next(item for item in dataset.clips("train") if item.shard == 1)
    with pytest.raises(InputError, match="dataset_invalid"):
        dataset.read(location)


def test_the_split_depends_only_on_the_source():
    sources = [f"{number * 2654435761 % 2**32:08x}ffff" for number in range(2000)]
    splits = [assign_split(source) for source in sources]
    assert 0.03 < splits.count("validation") / len(splits) < 0.07
    assert splits == [assign_split(source) for source in sources]
    assert assign_split("00000000") == "validation"
    assert assign_split("ffffffff") == "train"


def test_sound_is_rounded_to_16_bits():
    wave = np.linspace(-1.2, 1.2, 1001, dtype=np.float32)
    clip = ClipRecord(clip_id="a", source="0" * 8, split="train", motion=small_clip(1).motion, sound=to_pcm16(wave))
    assert np.abs(clip.waveform() - wave.clip(-1, 1)).max() <= 0.5 / 32767 + 1e-7


def test_a_data_set_can_be_in_an_object_store(s3_bucket):
    dataset = write_dataset(open_storage(f"{s3_bucket}/set"), [small_clip(1), small_clip(2)])
    assert [dataset.read(location).clip_id for location in dataset.clips("train")] == ["clip-001", "clip-002"]
