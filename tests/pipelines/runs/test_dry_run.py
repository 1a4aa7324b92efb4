"""Rows are filtered before a run owns them, run.yaml states how, and a dry run writes nothing."""

import json
import os

import pytest
from typer.testing import CliRunner

from manifests.problems import ManifestError
from manifests.run.folder import RunFolder
from manifests.storage import open_storage
from pipelines.cli.main import app
from pipelines.runs.driver import plan_run
from pipelines.runs.dry_run import check_run
from pipelines.runs.evaluate import EvaluateRun
from pipelines.runs.generate import GenerateRun, generate_videos
from stages.portrait import PortraitStage
from tests.manifests.tables import write
from tests.pipelines.runs.small_runs import make_config

ROWS = [{"record_id": f"r{n}", "image": f"{n}.jpg", "audio": "a.wav", "voice": "ab"[n % 2]} for n in range(6)]
WHERE = """where=['voice == "b"']"""


@pytest.fixture
def manifest(tmp_path):
    for row in ROWS:
        (tmp_path / row["image"]).write_bytes(b"picture")
    (tmp_path / "a.wav").write_bytes(b"sound")
    return write(tmp_path / "pairs.jsonl", ROWS)


def create(folder, manifest, *settings):
    config = make_config("shard_size=2", *settings).with_absolute_paths()
    with plan_run(GenerateRun(), folder, manifest, config) as (run, rows):
        folder.create(run.description, rows)


def test_the_run_owns_the_rows_that_meet_the_conditions_and_states_them(tmp_path, manifest):
    folder = RunFolder(open_storage(tmp_path / "run"))
    create(folder, manifest, WHERE, "limit=2")
    rows = folder.read_manifest()
    assert [record.id for record in rows.read_shard(0).records] == ["r1", "r3"]
    description = folder.read_description()
    assert description.configuration["where"] == ['voice == "b"']
    assert description.configuration["limit"] == 2
    source = description.manifest
    assert (source.rows, source.left_out, source.records, rows.records) == (4, 2, 2, 2)


def test_the_same_conditions_are_the_same_run_and_others_are_another(tmp_path, manifest):
    folder = RunFolder(open_storage(tmp_path / "run"))
    create(folder, manifest, WHERE)
    with pytest.raises(ManifestError, match="run_exists"):
        create(folder, manifest, WHERE)
    with pytest.raises(ManifestError, match=r"run_changed: .*configuration.where: .*voice == .*manifest.records: 3"):
        create(folder, manifest)
    with pytest.raises(ManifestError, match=r"run_changed: .*configuration.limit: null → 1"):
        create(folder, manifest, WHERE, "limit=1")


def test_a_dry_run_checks_everything_and_writes_nothing(tmp_path, manifest):
    (tmp_path / "1.jpg").unlink()
    checked = check_run(GenerateRun(), manifest, str(tmp_path / "run"), make_config(WHERE))
    assert not (tmp_path / "run").exists()
    counts = checked.as_dict()
    assert [counts[name] for name in ("rows", "left_out", "records", "unusable_records")] == [6, 3, 3, 1]
    assert counts["by_code"] == {"file_missing": 1}
    assert counts["portraits"] == 2
    assert [stage["name"] for stage in counts["stages"]][:2] == ["hash_inputs", "portrait"]

    create(RunFolder(open_storage(tmp_path / "run")), manifest, WHERE)
    with pytest.raises(ManifestError, match="run_exists"):
        check_run(GenerateRun(), manifest, str(tmp_path / "run"), make_config(WHERE, "shard_size=2"))


def test_a_dry_run_refuses_a_folder_that_cannot_be_created(tmp_path, manifest):
    before = sorted(tmp_path.iterdir())
    for out in (manifest, tmp_path / "1.jpg" / "run"):
        with pytest.raises(ManifestError, match="output_unwritable"):
            check_run(GenerateRun(), manifest, str(out), make_config(WHERE))
    assert sorted(tmp_path.iterdir()) == before


def test_a_dry_run_of_an_evaluation_reads_the_column_of_videos(tmp_path):
    (tmp_path / "1.mp4").write_bytes(b"video")
    manifest = write(tmp_path / "videos.jsonl", [{"video": "1.mp4"}, {"video": "2.mp4"}])
    counts = check_run(EvaluateRun(), manifest, str(tmp_path / "run"), make_config("metrics=[length]")).as_dict()
    assert (counts["records"], counts["by_code"]) == (2, {"file_missing": 1})


def test_the_command_prints_the_plan_and_exits_with_3_if_files_are_missing(tmp_path, manifest):
    arguments = ["generate", str(manifest), "--out", str(tmp_path / "run"), "--executor", "local", "--dry-run"]
    result = CliRunner().invoke(app, [*arguments, "--where", 'voice == "b"', "--limit", "2"])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[:2] == [
        f"{tmp_path / 'run'}: not created; a run would use 2 of 4 rows",
        "  2 do not meet --where",
    ]
    (tmp_path / "3.jpg").unlink()
    result = CliRunner().invoke(app, [*arguments, "--json"])
    counts = json.loads(result.stdout)
    assert (result.exit_code, counts["records"], counts["limit"], counts["where"]) == (3, 6, None, [])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", [("--limit", "0"), ("--where", "voice ==")])
def test_the_command_refuses_invalid_filters(tmp_path, manifest, option):
    result = CliRunner().invoke(app, ["generate", str(manifest), "--out", str(tmp_path / "run"), *option])
    assert result.exit_code != 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "settings", [["driving.relative=true", "driving.normalize_lip=true"], ["face.detector=blazeface"]]
)
@pytest.mark.parametrize("modes", [["human"], ["human", "animal"], ["animal"]])
def test_options_for_people_are_accepted_and_have_no_effect_on_animals(tmp_path, manifest, modes, settings):
    rows = [{**row, "mode": modes[n % len(modes)], "pose.yaw": 3} for n, row in enumerate(ROWS)]
    config = make_config("animation.models=sample", *(f"animation.{setting}" for setting in settings))
    write(manifest, rows)
    assert check_run(GenerateRun(), manifest, str(tmp_path / "run"), config).as_dict()["unusable_records"] == 0

    people, animals = config.animation.for_mode("human"), config.animation.for_mode("animal")
    assert people == config.animation
    assert (animals.face.detector, animals.driving.normalize_lip) == ("bundle", False)


@pytest.mark.parametrize("modes", [["human"], ["human", "animal"], ["animal"]])
def test_a_detector_for_animals_is_accepted_and_has_no_effect_on_people(tmp_path, manifest, modes):
    write(manifest, [{**row, "mode": modes[n % len(modes)]} for n, row in enumerate(ROWS)])
    config = make_config("animation.models=sample", "animation.face.detector=compact")
    pipeline = check_run(GenerateRun(), manifest, str(tmp_path / "run"), config).run.pipeline
    used = {
        spec.stage.config.animation.face.detector for spec in pipeline.stages if isinstance(spec.stage, PortraitStage)
    }
    assert used == {{"human": "bundle", "animal": "compact"}[mode] for mode in modes}


@pytest.mark.parametrize("link", [None, os.symlink, os.link])
def test_a_run_does_not_replace_its_manifest(tmp_path, link):
    run = tmp_path / "run"
    run.mkdir()
    rows = write((run if link is None else tmp_path) / "manifest.parquet", ROWS)
    if link:
        link(rows, run / "manifest.parquet")
    before = rows.read_bytes()
    for source in (rows, run):
        with pytest.raises(
            ManifestError, match=r"output_exists: .*/run/manifest\.parquet: exists and is not from a run"
        ):
            generate_videos(source, run, make_config("limit=1"))
    assert rows.read_bytes() == before
    assert [path.name for path in run.iterdir()] == ["manifest.parquet"]


@pytest.mark.parametrize("name", ["manifest.parquet", "events.jsonl", "shards/mine.tar", "report/mine.md"])
def test_a_run_does_not_replace_or_join_files_of_its_user(tmp_path, name):
    rows = write(tmp_path / "m.jsonl", ROWS)
    mine = tmp_path / "run" / name
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    taken = name.partition("/")[0]
    for start in (generate_videos, lambda *args: check_run(GenerateRun(), args[0], str(args[1]), args[2])):
        with pytest.raises(ManifestError, match=rf"output_exists: .*/run/{taken}: exists and is not from a run"):
            start(rows, tmp_path / "run", make_config("limit=1"))
    assert mine.read_bytes() == b"mine"
    assert [path.name for path in (tmp_path / "run").iterdir()] == [taken]
