import json
from dataclasses import asdict, replace

import pyarrow as pa
import pytest

from joyvasa.runtime.result_tables import read_table
from manifests.problems import ManifestError
from manifests.run.outcome import RecordOutcome
from manifests.run.outcome_table import build_outcome_table, encode_parquet, outcomes_from_table, passthrough_name
from tests.manifests.run.outcomes import failed_outcome, make_outcome
from tests.manifests.tables import copied, pair, write


@pytest.fixture
def shard(tmp_path):
    rows = [pair(n, speaker=f"s{n}", status="mine", seconds_x=n, row="r") for n in range(4)]
    return copied(write(tmp_path / "m.parquet", rows), tmp_path / "run", 3).read_shard(0)


def read_back(folder, table):
    (folder / "records.parquet").write_bytes(encode_parquet(table))
    return read_table([str(folder / "records.parquet")])


def test_there_is_one_row_per_record_in_manifest_order_with_all_columns(shard):
    outcomes = [failed_outcome("r0002"), make_outcome("r0001"), make_outcome("r0000", attempts=3)]
    table = build_outcome_table(shard, outcomes, stages=["portrait", "render"], metrics=["identity"])
    rows = table.to_pylist()
    assert [row["record_id"] for row in rows] == ["r0000", "r0001", "r0002"]
    assert [row["status"] for row in rows] == ["ok", "ok", "failed"]
    assert (rows[0]["attempts"], rows[0]["seed"], rows[0]["licenses"]) == (3, 2**63 - 1, ["MIT", "CC0"])
    assert (rows[2]["error_code"], rows[2]["video"], rows[2]["licenses"]) == ("no_face", None, [])
    assert (rows[1]["image"], rows[1]["audio"], rows[1]["row"], rows[1]["shard"]) == ("p1.png", "s1.wav", 2, 0)
    assert [name for name in table.column_names if name.startswith("seconds_")] == [
        "seconds_portrait", "seconds_render", "seconds_motion",
    ]  # fmt: skip
    assert (rows[1]["seconds_render"], rows[1]["seconds_portrait"], rows[2]["seconds_render"]) == (1.5, None, None)
    assert (rows[1]["metric_sync"], rows[1]["metric_identity"]) == (0.25, None)
    assert (rows[1]["speaker"], rows[1]["input_status"], rows[1]["input_row"]) == ("s1", "mine", "r")
    assert table.schema.field("input_seconds_x").type == pa.int64()
    assert table.schema.metadata[b"joyvasa.schema_version"] == b"1"


def test_reasons_for_missing_numbers_are_stored_in_the_row(shard, tmp_path):
    reasons = {"sync": "weights_missing: not available: needs syncnet_v2.model", "blink": "no_motion: «unknown»"}
    outcomes = [make_outcome("r0000", metrics={}, metric_reasons=reasons), make_outcome("r0001"), make_outcome("r0002")]
    table = read_back(tmp_path, build_outcome_table(shard, outcomes, metrics=["sync"]))
    assert json.loads(table.column("metric_reasons")[0].as_py()) == reasons
    assert table.column("metric_reasons")[1].as_py() is None
    assert list(outcomes_from_table(table)) == outcomes


def test_a_video_of_the_manifest_has_its_own_column(tmp_path):
    path = write(tmp_path / "m.csv", [pair(0, video="real.mp4"), pair(1)])
    shard = copied(path, tmp_path / "run").read_shard(0)
    rows = build_outcome_table(shard, [make_outcome("r0000"), make_outcome("r0001")]).to_pylist()
    assert [(row["input_video"], row["video"][-9:]) for row in rows] == [
        ("real.mp4", "r0000.mp4"),
        (None, "r0001.mp4"),
    ]


def test_outcomes_can_be_written_and_read(shard, tmp_path):
    outcomes = [make_outcome("r0000"), make_outcome("r0001", metrics={}), failed_outcome("r0002")]
    table = read_back(tmp_path, build_outcome_table(shard, outcomes))
    assert list(outcomes_from_table(table)) == outcomes
    assert [RecordOutcome.from_dict(asdict(outcome)) for outcome in outcomes] == outcomes


def test_outcomes_can_be_read_from_an_older_table_with_fewer_columns(shard):
    outcomes = [make_outcome("r0000"), make_outcome("r0001"), failed_outcome("r0002")]
    new = ["image_sha256", "audio_sha256", "motion_sha256", "n_faces", "warnings", "warning_codes"]
    older = build_outcome_table(shard, outcomes).drop_columns(new)
    assert list(outcomes_from_table(older)) == [replace(outcome, **dict.fromkeys(new)) for outcome in outcomes]


@pytest.mark.parametrize(
    "ids", [["r0000", "r0001"], ["r0000", "r0001", "r0002", "r0002"], ["r0000", "r0001", "r0003"], []]
)
def test_any_other_number_of_rows_is_refused(shard, ids):
    with pytest.raises(ManifestError, match="outcomes_incomplete: shard 0: "):
        build_outcome_table(shard, map(make_outcome, ids))


@pytest.mark.parametrize(
    "values",
    [
        {"status": "done"},
        {"status": "ok", "error_code": "x", "error": "y"},
        {"status": "failed"},
        {"status": "failed", "error_code": "x"},
        {"status": "ok", "attempts": 0},
    ],
)
def test_an_inconsistent_outcome_is_refused(values):
    with pytest.raises(ManifestError, match="outcome_invalid: outcome of 'a'"):
        RecordOutcome(record_id="a", stage="render", **values)


def test_passed_through_columns_have_unique_names():
    assert passthrough_name("speaker") == "speaker"
    assert passthrough_name("video") == "input_video"
    assert passthrough_name("metric_x") == "input_metric_x"
    assert passthrough_name("video", {"input_video"}) == "input_input_video"
