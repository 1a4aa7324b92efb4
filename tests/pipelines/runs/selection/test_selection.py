"""A selection holds the rows that meet every criterion, in order, and says why the others were left out."""

import json

import fsspec
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from joyvasa.errors import ConfigError, InputError
from manifests.problems import ManifestError
from manifests.run.outcome_table import outcomes_from_table
from pipelines.cli.main import app
from pipelines.runs.selection.options import SelectionOptions
from pipelines.runs.selection.selection import select_rows
from pipelines.runs.selection.selection_files import write_selection
from tests.pipelines.runs.selection.outcomes import make_row, write_finished_run

ROWS = [
    make_row(0, voice="anna", sync_c=5.0),
    make_row(1, voice="anna", sync_c=3.0),
    make_row(2, voice="anna", sync_c=None),
    make_row(3, voice="ben", sync_c=4.0),
    make_row(4, voice="ben", sync_c=1.0),
    make_row(5, voice="ben", sync_c=4.0, image="0.jpg", audio="0.wav"),
    make_row(6, voice=None, sync_c=6.0),
    make_row(7, voice="cleo", status="failed"),
    make_row(8, voice="cleo", status="quarantined"),
]


@pytest.fixture
def run(tmp_path):
    return write_finished_run(tmp_path / "run", ROWS).storage.root


def select(runs, **options):
    return select_rows([runs] if isinstance(runs, str) else runs, SelectionOptions(**options))


def select_ids(tmp_path, runs, **options):
    selection = select(runs, **options)
    path, _ = write_selection(selection, str(tmp_path / "selection.parquet"), [*selection_splits(options)])
    return pq.read_table(path).column("record_id").to_pylist()


def selection_splits(options):
    return options.get("split", {})


def effects(selection):
    return [(one.label, one.before, one.dropped, one.missing) for one in selection.criteria.applied]


def read_reasons(tmp_path):
    rows = pq.read_table(tmp_path / "selection.rejected.parquet").to_pylist()
    return {row["record_id"]: row["reason"] for row in rows}


def test_rows_with_status_ok_are_selected_by_default_in_their_order(run, tmp_path):
    assert select_ids(tmp_path, run) == [f"r{n}" for n in range(7)]
    assert read_reasons(tmp_path) == {
        "r7": "status is not ok: face_not_found",
        "r8": "status is not ok: face_not_found",
    }
    assert select_ids(tmp_path, run, statuses=("failed", "quarantined")) == ["r7", "r8"]


def test_each_condition_drops_rows_that_fail_it_or_have_no_value(run, tmp_path):
    options = {"where": ("sync_c >= 3", 'voice != "ben"')}
    assert select_ids(tmp_path, run, **options) == ["r0", "r1"]
    assert effects(select(run, **options)) == [
        ("status is ok", 9, 2, 0),
        ("sync_c >= 3", 7, 2, 1),
        ('voice != "ben"', 5, 3, 1),
    ]
    reasons = read_reasons(tmp_path)
    assert reasons["r2"] == "has no value for sync_c >= 3"
    assert reasons["r4"] == "does not meet sync_c >= 3"
    assert reasons["r6"] == 'has no value for voice != "ben"'
    assert len(reasons) == 7


def test_the_selection_has_all_outcome_columns_and_the_run(run, tmp_path):
    path, rejected = write_selection(select(run), str(tmp_path / "selection.parquet"))
    table = pq.read_table(path)
    assert {"record_id", "status", "metric_sync_c", "voice", "image_sha256", "licenses"} <= set(table.column_names)
    assert table.column_names[-1] == "run"
    assert set(table.column("run").to_pylist()) == {run}
    assert [outcome.metrics["sync_c"] for outcome in outcomes_from_table(table.slice(0, 2))] == [5.0, 3.0]
    assert pq.read_schema(rejected).names == ["record_id", "run", "reason"]


def test_the_best_rows_are_selected_and_ties_keep_their_order(run, tmp_path):
    assert select_ids(tmp_path, run, top=3, by="sync_c") == ["r0", "r3", "r6"]
    assert select_ids(tmp_path, run, top=2, by="metric_sync_c", ascending=True) == ["r1", "r4"]
    assert select_ids(tmp_path, run, top=99, by="sync_c") == ["r0", "r1", "r3", "r4", "r5", "r6"]
    assert read_reasons(tmp_path)["r2"] == "has no sync_c"


def test_limits_per_value_keep_the_best_rows_and_drop_rows_without_a_value(run, tmp_path):
    assert select_ids(tmp_path, run, per={"voice": 1}) == ["r0", "r3"]
    assert select_ids(tmp_path, run, per={"voice": 1}, by="sync_c", ascending=True) == ["r1", "r4"]
    reasons = read_reasons(tmp_path)
    assert (reasons["r0"], reasons["r6"]) == ("exceeds at most 1 per voice", "has no voice")


def test_a_row_counts_towards_a_limit_only_if_it_meets_all_of_them(tmp_path):
    pairs = [("p", "v"), ("p", "w"), ("q", "v"), ("q", "w")]
    rows = [make_row(n, image=image, voice=voice, sync_c=float(-n)) for n, (image, voice) in enumerate(pairs)]
    root = write_finished_run(tmp_path / "grid", rows).storage.root
    assert select_ids(tmp_path, root, per={"portrait": 1, "voice": 1}) == ["r0", "r3"]


def test_rows_with_the_same_inputs_and_seed_are_selected_once(tmp_path):
    same = {"image": "0.jpg", "audio": "0.wav"}
    rows = [make_row(0), make_row(1, **same), make_row(2, **same, seed=1), make_row(3, image="0.jpg")]
    first = write_finished_run(tmp_path / "a", [dict(row, sync_c=1.0) for row in rows]).storage.root
    second = write_finished_run(tmp_path / "b", [make_row(0, sync_c=2.0), make_row(9, sync_c=1.0)]).storage.root
    assert select_ids(tmp_path, [first, second], distinct=True) == ["r0", "r2", "r3", "r9"]
    selection = select([first, second], distinct=True, by="sync_c")
    path, _ = write_selection(selection, str(tmp_path / "selection.parquet"))
    table = pq.read_table(path)
    assert list(zip(table["record_id"].to_pylist(), table["run"].to_pylist(), strict=True)) == [
        ("r2", first),
        ("r3", first),
        ("r0", second),
        ("r9", second),
    ]


def test_near_duplicates_of_a_portrait_count_as_that_portrait(tmp_path):
    """A and B, B and C are copies, so A and C are copies; D differs from A in four bits, E has no hash."""
    hashes = {"A": 0xFF00, "B": 0xFF07, "C": 0xFF3F, "D": 0xFF00 ^ 0xF << 60, "E": None}
    rows = [
        make_row(n, image=name, audio="one.wav", image_phash=value and f"{value:016x}", sync_c=float(n))
        for n, (name, value) in enumerate(hashes.items())
    ]
    root = write_finished_run(tmp_path / "run", rows).storage.root
    assert select_ids(tmp_path, root, distinct=True) == ["r0", "r3", "r4"]
    assert select_ids(tmp_path, root, per={"portrait": 1}, by="sync_c") == ["r2", "r3", "r4"]
    selection = select(root, split={"train": 0.5, "test": 0.5})
    assert len(set(selection.split.splits[:3].tolist())) == 1
    assert sum(count.values["portrait"] for count in selection.counts) == 3
    assert select_ids(tmp_path, root, per={"image": 1}) == [f"r{n}" for n in range(5)]


def test_later_copies_of_a_portrait_leave_the_splits_of_earlier_rows(tmp_path):
    rows = [make_row(n, image_phash=f"{0xFF << n * 8:016x}") for n in range(8)]
    copies = [make_row(n + 8, image_phash=f"{(0xFF << n * 8) ^ 1:016x}") for n in range(8)]
    roots = [
        write_finished_run(tmp_path / name, part).storage.root for name, part in (("first", rows), ("second", copies))
    ]
    alone = select(roots[0], split={"train": 0.5, "test": 0.5}).split.splits
    assert len(set(alone.tolist())) == 2
    assert select(roots, split={"train": 0.5, "test": 0.5}).split.splits.tolist() == [*alone, *alone]


def test_runs_may_have_different_columns(tmp_path):
    first = write_finished_run(tmp_path / "a", [make_row(0, voice="anna", sync_c=1.0)]).storage.root
    second = write_finished_run(tmp_path / "b", [make_row(1, note="x", identity=0.5)]).storage.root
    path, _ = write_selection(select([first, second]), str(tmp_path / "selection.parquet"))
    table = pq.read_table(path)
    assert table.select(["voice", "note", "metric_identity"]).to_pylist() == [
        {"voice": "anna", "note": None, "metric_identity": None},
        {"voice": None, "note": "x", "metric_identity": 0.5},
    ]
    assert select_ids(tmp_path, [first, second], where=("identity > 0 or sync_c > 0",)) == ["r0", "r1"]


def test_columns_without_a_common_type_are_refused(tmp_path):
    first = write_finished_run(tmp_path / "a", [make_row(0, voice="anna")]).storage.root
    second = write_finished_run(tmp_path / "b", [make_row(1, voice=3)]).storage.root
    with pytest.raises(InputError, match=r"columns_conflict: .*/b: .*voice.*select from each run alone"):
        select([first, second])


def test_columns_of_the_manifest_named_run_and_split_are_renamed(tmp_path):
    root = write_finished_run(tmp_path / "run", [make_row(0, run="mine", split="old")]).storage.root
    selection = select(root, split={"train": 1.0})
    path, _ = write_selection(selection, str(tmp_path / "selection.parquet"), ["train"])
    (row,) = pq.read_table(path).to_pylist()
    assert [row[name] for name in ("input_run", "input_split", "run", "split")] == ["mine", "old", root, "train"]


def test_only_finished_shards_are_read_and_the_others_are_counted(tmp_path):
    root = write_finished_run(tmp_path / "run", [make_row(n) for n in range(9)], shards=2).storage.root
    selection = select(root)
    assert (selection.selected, selection.tables.unfinished) == (8, (1,))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"where": ("sync_x > 1",)}, "did you mean sync_c"),
        ({"where": ("voice > 1",)}, "condition_invalid"),
        ({"top": 1, "by": "syn_c"}, "did you mean sync_c"),
        ({"top": 1, "by": "voice"}, "expected numbers to rank"),
        ({"per": {"voise": 1}}, "did you mean voice"),
        ({"per": {"licenses": 1}}, "column_type"),
        ({"split": {"train": 1.0}, "disjoint": ("vois",)}, "did you mean voice"),
    ],
)
def test_unusable_columns_are_refused_before_rows_are_read(run, options, problem, monkeypatch):
    monkeypatch.setattr("pipelines.runs.selection.selection.read_candidates", None)
    with pytest.raises(InputError, match=problem):
        select(run, **options)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"top": 1}, "top 1 has no column"),
        ({"top": 0, "by": "sync_c"}, "top=0"),
        ({"by": "sync_c"}, "no effect"),
        ({"per": {"voice": 0}}, "voice=0"),
        ({"statuses": ("fine",)}, "status 'fine'"),
        ({"split": {"train": 0.5}}, "add up to 0.5"),
        ({"split": {"train": 2.0}}, "train=2"),
        ({"split": {"../x": 1.0}}, "expected train, val, test"),
    ],
)
def test_contradicting_options_are_refused(options, problem):
    with pytest.raises(ConfigError, match=problem):
        SelectionOptions(**options)


def test_folders_that_hold_no_rows_are_refused(run, tmp_path):
    with pytest.raises(InputError, match="run_repeated"):
        select([run, f"{run}/"])
    with pytest.raises(Exception, match="run_missing"):
        select(str(tmp_path))
    empty = write_finished_run(tmp_path / "empty", ROWS, shards=0).storage.root
    with pytest.raises(InputError, match="rows_missing"):
        select(empty)


def test_an_empty_selection_removes_an_older_one_and_says_why(run, tmp_path):
    target = tmp_path / "selection.parquet"
    write_selection(select(run), str(target))
    with pytest.raises(InputError, match=r"selection_empty: .*selection\.rejected\.parquet says why"):
        write_selection(select(run, where=("sync_c > 99",)), str(target))
    assert [path.name for path in tmp_path.glob("selection*")] == ["selection.rejected.parquet"]
    reasons = pq.read_table(tmp_path / "selection.rejected.parquet").column("reason").to_pylist()
    assert len(reasons) == len(ROWS)
    assert "does not meet sync_c > 99" in reasons


def test_options_in_the_metadata_of_a_selection_are_the_arguments_of_its_command(run, tmp_path):
    options = SelectionOptions(split={"train": 0.5, "test": 0.5}, disjoint=("portrait", "voice"), seed=3, distinct=True)
    assert options.to_arguments() == [
        *("--split", "train=0.5,test=0.5", "--disjoint", "portrait,voice", "--seed", "3", "--distinct")
    ]
    path, _ = write_selection(select(run, where=("frames > 0",)), str(tmp_path / "s.parquet"))
    stored = pq.read_schema(path).metadata[b"joyvasa.selection"]
    assert SelectionOptions.from_json(stored) == SelectionOptions(where=("frames > 0",))
    assert SelectionOptions.from_json(b'{"top": 0}') is SelectionOptions.from_json(b"[") is None


def test_nothing_is_written_if_a_run_changes(run, tmp_path):
    target = tmp_path / "out" / "selection.parquet"
    with pytest.raises(InputError, match="output_format"):
        write_selection(select(run), str(tmp_path / "selection.csv"))

    selection = select(run)
    selection.candidates.codes = selection.candidates.codes[:-1]
    with pytest.raises(InputError, match="rows_changed"):
        write_selection(selection, str(target))
    assert not target.parent.exists() or not [*target.parent.iterdir()]


def test_a_selection_can_be_written_to_an_object_store(run):
    path, rejected = write_selection(select(run), "memory://selections/s.parquet")
    assert (path, rejected) == ("memory://selections/s.parquet", "memory://selections/s.rejected.parquet")
    with fsspec.open(path) as file:
        assert pq.read_table(file).num_rows == 7


def test_the_command_prints_what_each_criterion_costs(run, tmp_path):
    out = tmp_path / "best.parquet"
    arguments = ["select", run, "--where", "sync_c >= 3", "--per", "voice=1", "--by", "sync_c:asc"]
    result = CliRunner().invoke(app, [*arguments, "-o", str(out)])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "criterion            rows  dropped  no value",
        "status is ok            9        2",
        "sync_c >= 3             7        2         1",
        "at most 1 per voice     5        3         1",
        "selected                2",
        str(out),
        str(tmp_path / "best.rejected.parquet"),
    ]
    assert pq.read_table(out).column("record_id").to_pylist() == ["r1", "r3"]


def test_the_command_prints_json_and_writes_nothing_without_a_file(run, tmp_path):
    arguments = ["select", run, "--split", "train=0.5,test=0.5", "--disjoint", "portrait,recording", "--seed", "3"]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    counts = json.loads(result.stdout)
    assert (counts["rows"], counts["files"], counts["split_rule"]) == (9, {}, "groups")
    assert counts["selected"] == sum(split["rows"] for split in counts["splits"]) == 7
    assert counts["criteria"][0] == {"label": "status is ok", "before": 9, "dropped": 2, "missing": 0}


def test_the_command_prints_the_size_of_each_split(tmp_path):
    rows = [make_row(n, voice="ab"[n % 2]) for n in range(20)]
    root = write_finished_run(tmp_path / "run", rows).storage.root
    out = tmp_path / "splits.parquet"
    arguments = ["select", root, "--split", "train=0.7,test=0.3", "--disjoint", "portrait,recording", "-o", str(out)]
    result = CliRunner().invoke(app, arguments)
    table = pq.read_table(out)
    assert table.column_names[-2:] == ["run", "split"]
    train = table["split"].to_pylist().count("train")
    assert result.stdout.splitlines()[5:9] == [
        "split  rows  share  portrait  recording",
        f"train  {train:>4}  {train / 20:.1%}  {train:>8}  {train:>9}",
        f"test   {20 - train:>4}  {1 - train / 20:.1%}  {20 - train:>8}  {20 - train:>9}",
        "rows that share a value are in one split",
    ]


def test_an_empty_name_of_the_selection_is_refused(run):
    error = CliRunner().invoke(app, ["select", run, "--out", ""]).exception
    assert isinstance(error, InputError)
    assert error.code == "output_format"


@pytest.mark.parametrize("name", ["manifest.parquet", "shards/00000/records.parquet", "shards/00000/new.parquet"])
def test_a_selection_replaces_no_file_of_its_run(run, tmp_path, name):
    (tmp_path / "link").symlink_to(run)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    for folder in (run, str(tmp_path / "link")):
        error = CliRunner().invoke(app, ["select", run, "--out", f"{folder}/{name}"]).exception
        assert isinstance(error, ManifestError)
        assert error.code == "output_is_input"
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_selection_may_lie_in_the_folder_of_its_run(run):
    assert CliRunner().invoke(app, ["select", run, "--out", f"{run}/best.parquet"]).exit_code == 0


@pytest.mark.parametrize(
    "option",
    [
        *(["--per", "voice"], ["--per", "voice=x"], ["--split", "a=b"], ["--disjoint", "a"]),
        *(["--per", ""], ["--split", ""], ["--split", ","], ["--disjoint", ""]),
    ],
)
def test_the_command_refuses_malformed_options(run, option):
    result = CliRunner().invoke(app, ["select", run, *option])
    assert result.exit_code == 2
    assert "expected" in result.output or "only allowed" in result.output


def test_an_empty_rank_is_refused(run):
    assert CliRunner().invoke(app, ["select", run, "--top", "3", "--by", ""]).exception.code == "column_unknown"


def test_runs_are_read_from_object_stores(run, tmp_path):
    fsspec.filesystem("memory").put(run, "/runs/first", recursive=True)
    location = "memory://runs/first"
    selection = select([location, run], where=("sync_c >= 5",))
    path, _ = write_selection(selection, str(tmp_path / "selection.parquet"))
    rows = pq.read_table(path)
    assert rows["record_id"].to_pylist() == ["r0", "r6"] * 2
    assert rows["run"].unique().to_pylist() == [location, run]
