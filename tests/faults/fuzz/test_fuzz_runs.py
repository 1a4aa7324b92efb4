"""Damaged run folders and option settings: read rightly or refused with one sentence."""

import io
import json
import shutil
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import joyvasa
from joyvasa.config import config_from_dict, config_to_dict, dump_config, load_config
from joyvasa.errors import JoyvasaError
from joyvasa.options import AnimationConfig
from joyvasa.training.config import TrainingConfig
from manifests.estimate import read_profile
from manifests.run.events import read_events
from manifests.run.folder import RunFolder
from manifests.storage import open_storage
from pipelines.cli.main import app
from pipelines.runs.config import RunConfig
from pipelines.runs.rates import read_bench_rates, read_run_rates
from pipelines.runs.selection.options import SelectionOptions
from pipelines.training.run import read_training_run
from pipelines.web.confinement import RunsRoot
from pipelines.web.limits import Limits
from pipelines.web.records import Query
from pipelines.web.runs_browser import RunsBrowser
from tests.faults.fuzz.fuzzing import ODD_YAML, call, fuzz, mutated, mutated_tree, mutated_yaml, mutated_yaml_file
from tests.manifests.tables import pair
from tests.pipelines.report.run_folders import failed_outcome, ok_outcome, statistics, write_run

pytestmark = pytest.mark.slow
RUN_FILES = [
    "run.yaml",
    "manifest.parquet",
    "events.jsonl",
    ".lock",
    "shards/00000/_done.json",
    "shards/00000/records.parquet",
]
USES = st.sampled_from(["page", "page", "retry", "retry", "status", "export", "report"])
SAVED = "shards/00001/saved/1.jsonl"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of six records in three shards: one is finished, one has saved outcomes, one has not started."""
    root = tmp_path_factory.mktemp("run")
    manifests = tmp_path_factory.mktemp("manifests")

    def outcome(record):
        if record.row % 2:
            return ok_outcome(record, video=f"shards/{record.shard:05d}/videos/{record.id}.mp4", sync=1.5, blink=None)
        return failed_outcome(record)

    rows = [pair(n, speaker=f"s{n}", note=[n, "x"]) for n in range(6)]
    parts = [statistics(), statistics(ended=False)]
    folder = write_run(root, rows, outcome, manifests=manifests, shard_size=2, video=b"video", shards=2, parts=parts)
    folder.reopen_shard(1, ["failed"])
    (saved,) = (root / SAVED).parent.iterdir()
    saved.rename(root / SAVED)
    (root / ".lock").write_text('{"host": "h", "pid": 1, "since": "x"}')
    return root


def read_all(root):
    """Read a run folder in every way that the program reads one."""
    folder = RunFolder(open_storage(root))

    readers = {
        "status": lambda: folder.count_records(folder.read_manifest()),
        "rows": lambda: [folder.read_manifest().read_shard(number) for number in range(3)],
        "results": lambda: joyvasa.results(root),
        "events": lambda: list(read_events(folder.storage)),
        "rates": lambda: read_run_rates(str(root)),
        "description": lambda: config_from_dict(RunConfig, folder.read_description().configuration),
    }
    return {name: call(read) for name, read in readers.items()}


def show(root):
    """Show a run in all ways that the page does."""
    browser = RunsBrowser(RunsRoot(str(root)), Limits())
    opened = browser.open(".")
    browser.render_state(opened)
    for column in ["", *browser.list_choices(opened)[1]]:
        browser.render_records(opened, Query(sort=column), table=True)
    browser.render_records(opened, Query(SelectionOptions(where=("contains(record_id, 'r')",))), table=False)
    browser.render_failures(opened)
    browser.render_report(opened)


def check(run, file, content, use):
    """Read a run with one changed file, and use it in one of `USES`."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name, "run")
        shutil.copytree(run, root)
        (root / file).write_bytes(content)

        counts = read_all(root)["status"]
        if not isinstance(counts, JoyvasaError):
            assert counts.records == 6 or file == "manifest.parquet"
            assert 0 <= counts.pending <= counts.records, counts

        folder = RunFolder(open_storage(root))
        if use == "page":
            call(lambda: show(root))
        elif use == "retry":
            for shard in range(3):
                call(lambda shard=shard: folder.reopen_shard(shard, ["failed"]))
                call(lambda shard=shard: folder.clean_shard(shard))
            call(lambda: folder.count_records(folder.read_manifest()))
        elif use == "export":
            check_command(["export", str(root), "--out", f"{name}/export"])
        else:
            check_command([use, str(root)])


def check_command(command):
    result = call(lambda: CliRunner().invoke(app, command))
    error = result.exception
    if isinstance(error, SystemExit | JoyvasaError) or error is None:
        return
    raise error


@pytest.mark.parametrize("file", [*RUN_FILES, SAVED])
@fuzz(5)
@given(st.data())
def test_damaged_bytes_in_a_run(run, file, data):
    check(run, file, data.draw(mutated((run / file).read_bytes())), data.draw(USES))


@pytest.mark.parametrize("file", ["events.jsonl", "shards/00000/_done.json", ".lock", SAVED])
@fuzz(6)
@given(st.data())
def test_changed_values_in_json_files_of_a_run(run, file, data):
    lines = (run / file).read_bytes().splitlines() if file.endswith(".jsonl") else [(run / file).read_bytes()]
    index = data.draw(st.integers(0, len(lines) - 1))
    lines[index] = json.dumps(data.draw(mutated_tree(json.loads(lines[index])))).encode()
    check(run, file, b"\n".join(lines), data.draw(USES))


@fuzz(12)
@given(st.data())
def test_changed_values_in_a_description(run, data):
    content = yaml.safe_load((run / "run.yaml").read_text())
    text = yaml.safe_dump(data.draw(mutated_tree(content)), sort_keys=False)
    check(run, "run.yaml", text.encode("utf-8", "replace"), data.draw(USES))


@fuzz(12)
@given(st.data())
def test_odd_yaml_in_a_description(run, data):
    check(run, "run.yaml", data.draw(mutated_yaml((run / "run.yaml").read_text())), data.draw(USES))


@pytest.mark.parametrize("file", ["manifest.parquet", "shards/00000/records.parquet"])
@fuzz(8)
@given(st.data())
def test_tables_with_other_columns(run, file, data):
    table = pq.read_table(run / file)
    names = data.draw(st.lists(st.sampled_from(table.column_names), min_size=1, max_size=3, unique=True))
    for name in names:
        index = table.column_names.index(name)
        kind = data.draw(st.sampled_from(["drop", "null", "text", "number", "rename", "list", "twice", "binary"]))
        if kind == "drop":
            table = table.remove_column(index)
        elif kind == "rename":
            table = table.rename_columns([f"{other}_x" if other == name else other for other in table.column_names])
        elif kind == "twice":
            table = table.append_column(name, table.column(index))
        else:
            values = {"null": [None], "text": ["\u202e"], "number": [-1], "list": [["x"]], "binary": [b"\xff"]}[kind]
            table = table.set_column(index, name, pa.array(values * len(table)))
        if name not in table.column_names:
            continue
    if data.draw(st.sampled_from([False, False, True])):
        table = table.replace_schema_metadata(
            {"joyvasa.schema_version": data.draw(st.sampled_from(["1", "9", "\x00"])), "joyvasa.facts": "x"}
        )
    sink = io.BytesIO()
    pq.write_table(table.slice(0, data.draw(st.integers(0, len(table)))), sink, row_group_size=2)
    check(run, file, sink.getvalue(), data.draw(USES))


def option_names(tree, prefix=""):
    for name, value in tree.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from option_names(value, f"{prefix}{name}.")


KINDS = [RunConfig, AnimationConfig, TrainingConfig]
OPTIONS = {kind: [*option_names(config_to_dict(kind()))] for kind in KINDS}
VALUES = [
    *ODD_YAML,
    "null",
    "true",
    "1",
    "-1",
    "0",
    "1.5",
    "1e400",
    "[]",
    "{}",
    "[1]",
    "{a: 1}",
    "auto",
    "human",
    "none",
    "all",
    "''",
    "[[1]]",
    "{a: {b: 1}}",
]


@pytest.mark.parametrize("kind", KINDS)
@fuzz(60)
@given(st.data())
def test_settings_of_any_value(kind, data):
    names = st.one_of(
        st.sampled_from(OPTIONS[kind]),
        st.sampled_from(["", ".", "a", "stages.render.batch_size", "stages.x", "stages.x.y.z", "é"]),
    )
    settings = data.draw(st.lists(st.tuples(names, st.sampled_from(VALUES)), min_size=1, max_size=2))
    result = call(lambda: load_config(kind, settings=[f"{name}={value}" for name, value in settings]))
    if not isinstance(result, JoyvasaError):
        check_config(result)


@pytest.mark.parametrize("kind", KINDS)
@fuzz(30)
@given(st.data())
def test_files_with_any_options(kind, data):
    text = dump_config(kind())
    changed = mutated_tree(yaml.safe_load(text)).map(
        lambda tree: yaml.safe_dump(tree, sort_keys=False).encode("utf-8", "replace")
    )
    content = data.draw(st.one_of(changed, mutated_yaml(text)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "options.yaml")
        path.write_bytes(content)
        result = call(lambda: load_config(kind, file=path))
    if not isinstance(result, JoyvasaError):
        check_config(result)


def check_config(config):
    """Check that a configuration survives `run.yaml`."""
    plain = json.loads(json.dumps(config_to_dict(config), allow_nan=False))
    assert config_from_dict(type(config), yaml.safe_load(yaml.safe_dump(plain))) == config


PROFILE = """machine: one
stages:
  render: {per: frame, seconds: 0.011, gpus: 1}
  motion: {per: window, seconds: 0.05}
disk:
  frame: 5200
"""
TRAINING = yaml.safe_dump({"layout": 1, "dataset": "x", "workers": 1, "config": config_to_dict(TrainingConfig())})
RENDER = {"busy_s": 1.0, "records": 2, "shared": 0, "unit": "frame", "num_gpus": 0.0, "uses_gpu": False}
RENDER |= {"totals": {"frames": 10, "video_bytes": 100}}
BENCH = {
    "machine": {"processor": "p", "device": "cpu"},
    "models": "sample",
    "chain": {"statistics": {"stages": {"render": RENDER}}},
}


@fuzz(30)
@given(mutated_yaml_file(PROFILE))
def test_profiles_of_any_content(content):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "p.yaml").write_bytes(content)
        call(lambda: read_profile(f"{folder}/p.yaml"))


@fuzz(40)
@given(st.one_of(mutated_tree(BENCH).map(lambda tree: json.dumps(tree).encode()), mutated(json.dumps(BENCH).encode())))
def test_bench_files_of_any_content(content):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "b.json").write_bytes(content)
        call(lambda: read_bench_rates(f"{folder}/b.json"))


@fuzz(40)
@given(mutated_yaml_file(TRAINING))
def test_training_runs_of_any_content(content):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "train.yaml").write_bytes(content)
        call(lambda: read_training_run(open_storage(folder)))
