import json

import pytest
from typer.testing import CliRunner

from joyvasa.config import load_config
from manifests.problems import ManifestError
from pipelines.cli.main import app
from pipelines.engine.statistics import RunStatistics, StageStatistics
from pipelines.runs.config import RunConfig
from pipelines.runs.rates import build_profile, measure_rates, read_run_rates
from tests.manifests.tables import write
from tests.media import DATA, write_tone

SETTINGS = ["animation.picture.max_side=256"]


def stage(records, busy_s, unit="record", *, shared=0, num_gpus=0.0, **totals):
    numbers = {"records": records, "shared": shared, "busy_s": busy_s, "num_gpus": num_gpus, "totals": totals}
    return StageStatistics(**numbers, unit=unit, uses_gpu=num_gpus > 0)


PARTS = [
    RunStatistics(
        {
            "portrait": stage(4, 2.0, "portrait", shared=6),
            "animal_portrait": stage(1, 1.0, "portrait"),
            "speech": stage(5, 5.0, "distinct_second", seconds=50.0),
            "motion": stage(10, 20.0, "second", seconds=100.0, frames=2500),
            "render": stage(10, 125.0, "frame", num_gpus=0.5, frames=2500, video_bytes=5e6),
            "verify_output": stage(10, 0.5),
        }
    ),
    RunStatistics({"render": stage(10, 250.0, "frame", num_gpus=0.5, frames=2500, video_bytes=5e6)}),
]


def test_rates_are_busy_seconds_per_unit_of_work():
    profile = build_profile(PARTS, machine="here")
    rates = {name: (rate.per, rate.seconds, rate.gpus) for name, rate in profile.stages.items()}
    assert rates == {
        "portrait": ("portrait", 0.6, 0.0),
        "speech": ("distinct_second", 0.1, 0.0),
        "motion": ("second", 0.2, 0.0),
        "render": ("frame", 0.075, 0.5),
        "verify_output": ("record", 0.05, 0.0),
    }
    assert profile.disk == {"frame": 2000}


def test_a_run_in_one_process_counts_the_whole_gpu_for_stages_that_use_it():
    rates = build_profile(PARTS, machine="here", whole_gpu=True).stages
    assert (rates["render"].gpus, rates["verify_output"].gpus) == (1.0, 0.0)


def test_the_rate_of_a_shared_motion_is_per_recording():
    shared = RunStatistics({"motion": stage(2, 20.0, "second", shared=8, seconds=100.0)})
    assert build_profile([shared], machine="here").stages["motion"].per == "distinct_second"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rates")
    write_tone(folder / "s.wav", seconds=0.4)
    rows = [{"image": str(DATA / "portrait.jpg"), "audio": "s.wav", "record_id": f"r{n}"} for n in range(6)]
    return write(folder / "m.csv", rows)


@pytest.mark.slow
def test_a_plan_measures_this_machine(manifest, tmp_path):
    arguments = ["plan", str(manifest), "--measure", "--json"]
    result = CliRunner().invoke(app, [*arguments, *(part for entry in SETTINGS for part in ("--set", entry))])
    assert result.exit_code == 0, result.output
    estimate = json.loads(result.stdout)["estimate"]
    assert estimate["machine"] == "this machine, models sample, no GPU"
    assert estimate["worker_hours_by_stage"]["render"] > 0
    assert estimate["gpu_hours"] == 0  # it ran on the CPU
    assert estimate["disk_bytes"] > 0


def test_rows_that_give_no_video_give_no_rates(tmp_path):
    write_tone(tmp_path / "s.wav", seconds=0.4)
    (tmp_path / "p.jpg").write_bytes(b"no picture")
    manifest = write(tmp_path / "m.csv", [{"image": "p.jpg", "audio": "s.wav", "record_id": "r"}])
    with pytest.raises(ManifestError, match=r"rates_unknown: .*none of its first 1 rows produced a video"):
        measure_rates(str(manifest), load_config(RunConfig, settings=SETTINGS))


def test_a_folder_without_a_run_gives_no_rates(tmp_path):
    with pytest.raises(ManifestError, match="run_missing"):
        read_run_rates(str(tmp_path))


def test_options_that_mean_nothing_are_refused(manifest):
    for arguments in (["--set", "executor=ray"], ["--measure", "--profile", "x.yaml"]):
        assert CliRunner().invoke(app, ["plan", str(manifest), *arguments]).exit_code == 2
