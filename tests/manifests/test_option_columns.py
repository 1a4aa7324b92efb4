from dataclasses import dataclass

import pyarrow.parquet as pq
import pytest

from joyvasa.errors import ConfigError
from manifests.manifest import open_manifest
from manifests.option_columns import OptionColumns
from manifests.problems import ManifestError
from manifests.run.manifest_file import MANIFEST, RunManifest, write_manifest
from manifests.scan import Scan
from manifests.storage import open_storage
from tests.manifests.tables import find_problems, pair, write


@dataclass
class Spec:
    kind: type
    default: object = None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    choices: tuple = ()


SPECS = {
    "pose.yaw": Spec(float, 0.0, -30, 30, "degrees"),
    "driving.multiplier": Spec(float, 1.1),
    "driving.region": Spec(str, "all", choices=("all", "lip")),
    "face.index": Spec(int, 0),
    "crop.rotate": Spec(bool, True),
    "blink.rate": Spec(float, None, 0, 60, "per minute"),
}


def columns(check=lambda _mode, _options: None):
    return OptionColumns(SPECS, [*SPECS, "seed", "device", "sampling.cfg_scale", "sampling.steps"], check)


def scan_rows(folder, rows, suffix="csv", **options):
    scan = Scan(open_manifest(write(folder / f"m.{suffix}", rows)), options=columns(**options))
    blocks = list(scan.blocks(extra=True))
    return (
        [record for block in blocks for record in block.records],
        [p for block in blocks for p in block.problems],
        scan,
    )


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_columns_set_options_of_their_row(tmp_path, suffix):
    rows = [pair(1, **{"pose.yaw": 12.5, "face.index": 1, "voice": "slt"}), pair(2, **{"pose.yaw": None})]
    rows[1] |= {"face.index": 0, "voice": "rms"}
    records, problems, _ = scan_rows(tmp_path, rows, suffix)
    assert problems == []
    assert records[0].options == (("face.index", 1), ("pose.yaw", 12.5))
    assert records[1].options == (("face.index", 0),)


def test_rows_that_differ_in_an_option_have_different_ids(tmp_path):
    rows = [{"image": "a.png", "audio": "a.wav", "pose.yaw": yaw} for yaw in ("", "5", "5.0", "6")]
    records, problems, _ = scan_rows(tmp_path, rows)
    assert [problem.code for problem in problems] == ["duplicate_record"]  # 5 and 5.0
    plain, _, _ = scan_rows(tmp_path, [{"image": "a.png", "audio": "a.wav"}])
    assert records[0].id == plain[0].id != records[1].id


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("pose.yaw", "99", "pose.yaw '99' expected -30 to 30 degrees"),
        ("pose.yaw", "left", "pose.yaw 'left' expected a number"),
        ("pose.yaw", "nan", "pose.yaw 'nan' expected a number that is finite"),
        ("face.index", "1.5", "face.index '1.5' expected a whole number"),
        ("crop.rotate", "1", "crop.rotate '1' expected true or false"),
        ("driving.region", "nose", "driving.region 'nose' expected all or lip"),
    ],
)
def test_bad_values_are_problems_of_their_row(tmp_path, column, value, problem):
    records, problems, _ = scan_rows(tmp_path, [pair(1, **{column: value}), pair(2, **{column: ""})])
    assert [p.text for p in problems] == [problem]
    assert records[0] is None
    assert records[1].options == ()


def test_options_that_exclude_each_other_are_a_problem(tmp_path):
    def check(_mode, options):
        if dict(options).get("pose.yaw") == 7:
            raise ConfigError("config_invalid", "pose.yaw is 7")

    records, problems, _ = scan_rows(tmp_path, [pair(1, **{"pose.yaw": "7"}), pair(2)], check=check)
    assert [(p.code, p.text) for p in problems] == [("config_invalid", "pose.yaw is 7")]
    assert records[1]


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        ("pose.yav", "much like pose.yaw"),
        ("pose_yaw", "much like pose.yaw"),
        ("Pose.Yaw", "much like pose.yaw"),
        ("multiplier", "much like driving.multiplier"),
        ("multiplyer", "much like driving.multiplier"),
        ("driving.speed", "expected one of driving.multiplier, driving.region"),
        ("driving", "a group of options; expected one of driving.multiplier, driving.region"),
        ("sampling.steps", "the same for all rows"),
        ("sampling.cfg_scale", "the column cfg_scale sets it"),
    ],
)
def test_a_column_that_looks_like_an_option_is_refused(tmp_path, column, sentence):
    with pytest.raises(ManifestError, match="option_unknown") as error:
        scan_rows(tmp_path, [pair(1, **{column: "1"})])
    assert f"column {column}: " in error.value.sentence
    assert sentence in error.value.sentence


@pytest.mark.parametrize("column", ["voice", "speaker", "text", "age", "gender.of.speaker", "language", "posture"])
def test_other_columns_pass_through(tmp_path, column):
    records, problems, scan = scan_rows(tmp_path, [pair(1, **{column: "1"})])
    assert records[0]
    assert problems == scan.summary.notes == []


def test_an_option_of_the_run_without_a_dot_passes_through_with_a_note(tmp_path):
    _, problems, scan = scan_rows(tmp_path, [pair(1, device="phone")])
    assert problems == []
    assert scan.summary.notes == ["column device is passed through; the option device is the same for all rows"]


def test_a_short_last_part_of_an_option_is_pointed_out(tmp_path):
    _, problems, scan = scan_rows(tmp_path, [pair(1, rate="16000")])
    assert problems == []
    assert scan.summary.notes == ["column rate is passed through and sets no option; blink.rate would"]


def test_the_run_keeps_options_with_the_values_of_the_run_where_a_row_has_none(tmp_path):
    rows = [pair(1, **{"pose.yaw": "3", "blink.rate": ""}), pair(2, **{"pose.yaw": "", "blink.rate": "20"})]
    scan = Scan(open_manifest(write(tmp_path / "m.csv", rows)), options=columns())
    write_manifest(scan, tmp_path / MANIFEST)
    shard = RunManifest(open_storage(str(tmp_path))).read_shard(0)
    assert [record.options for record in shard.records] == [
        (("pose.yaw", 3.0),),
        (("blink.rate", 20.0), ("pose.yaw", 0.0)),
    ]
    table = pq.read_table(tmp_path / MANIFEST)
    assert table.column("pose.yaw").to_pylist() == [3.0, 0.0]
    assert shard.extra.column("blink.rate").to_pylist() == [None, 20.0]


def test_plan_checks_options_without_reading_other_columns(tmp_path):
    scan = Scan(open_manifest(write(tmp_path / "m.parquet", [pair(1, **{"pose.yaw": 99.0})])), options=columns())
    assert [p.column for p in find_problems(scan)] == ["pose.yaw"]
