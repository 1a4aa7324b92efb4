"""`joyvasa train`, `resume` and `bundle`: from a data set to a video of the trained generator."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from joyvasa.config import config_to_dict
from joyvasa.errors import EnvironmentFault
from joyvasa.training.checkpoint import Checkpoints
from joyvasa.training.log import TrainingLog, read_log
from manifests.problems import ManifestError
from manifests.run.lock import LeaseLock
from manifests.storage import open_storage
from pipelines.cli.main import app
from pipelines.training import ray as training_ray
from pipelines.training.ray import _use_gpus
from tests.joyvasa.training.small import small_config, small_dataset
from tests.media import EXAMPLES

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("dataset")).files.root


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    file = tmp_path_factory.mktemp("options") / "train.yaml"
    file.write_text(
        yaml.safe_dump(json.loads(json.dumps(config_to_dict(small_config(steps=4, checkpoints={"every_steps": 2})))))
    )
    return ["--config", str(file)]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def joyvasa(*arguments):
    """Run a command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def losses(folder):
    log = read_log(open_storage(folder))
    return list(zip(log["step"].to_pylist(), log["loss"].to_pylist(), log["gradient_norm"].to_pylist(), strict=True))


def test_from_a_data_set_to_a_video(dataset, options, tmp_path):
    run, bundle, video = tmp_path / "run", tmp_path / "bundle", tmp_path / "out.mp4"
    trained = joyvasa("train", dataset, "--out", run, *options)
    assert trained.exit_code == 0, trained.output
    assert "step 4 of 4, loss" in trained.stdout
    assert "% of it compute" in trained.stdout
    assert (run / "train.yaml").is_file()

    repeated = joyvasa("train", dataset, "--out", run, *options)
    assert str(repeated.exception).startswith("run_exists: ")
    resumed = joyvasa("resume", run)
    assert (resumed.exit_code, "step 4" in resumed.stdout) == (0, True), resumed.output

    status = json.loads(joyvasa("status", run, "--json").stdout)
    assert (status["steps"], status["done"]) == (4, 4)
    assert status["loss"] == pytest.approx(losses(run)[-1][1])
    assert "best step" in joyvasa("status", run).stdout

    exported = joyvasa("bundle", run, "--out", bundle, "--base", "random", "--published", tmp_path / "iter.pt")
    assert exported.exit_code == 0, exported.output
    assert (tmp_path / "iter.pt").is_file()
    animated = joyvasa("animate", EXAMPLES / "portrait.jpg", EXAMPLES / "speech.flac", "-o", video, "--models", bundle)
    assert animated.exit_code == 0, animated.output
    assert video.stat().st_size > 10_000


def test_checkpoints_of_another_run_are_neither_continued_nor_removed(dataset, options, tmp_path):
    mine = tmp_path / "run/checkpoints/00000002.safetensors"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    refused = joyvasa("train", dataset, "--out", tmp_path / "run", *options)
    assert str(refused.exception).startswith("run_exists: ")
    assert mine.read_bytes() == b"mine"


def test_a_stopped_run_saves_a_checkpoint(dataset, options, tmp_path, monkeypatch):
    add, folder = TrainingLog.add, tmp_path / "a run"

    def interrupted(self, step, values):
        add(self, step, values)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(TrainingLog, "add", interrupted)
    stopped = joyvasa("train", dataset, "--out", folder, *options)
    monkeypatch.undo()
    assert stopped.exit_code == 130
    assert f"`joyvasa resume '{folder}'`" in stopped.stderr
    assert Checkpoints(open_storage(folder)).steps() == [2]
    resumed = joyvasa("resume", folder)
    assert (resumed.exit_code, "step 4 of 4" in resumed.stdout) == (0, True), resumed.output
    again = joyvasa("resume", folder)  # no step is left, so there is no loss
    assert re.fullmatch(r".*/a run: step 4 of 4, validation \d\.\d{4}\n", again.stdout)


def test_a_dry_run_estimates_the_hours_and_writes_nothing(dataset, options):
    result = joyvasa("train", dataset, "--dry-run", *options)
    assert result.exit_code == 0, result.output
    assert "4 steps take 0.0 hours" in result.stdout


def test_a_missing_data_set_is_an_error_of_one_sentence(options, tmp_path):
    result = joyvasa("train", tmp_path / "nothing", "--out", tmp_path / "run", *options)
    assert str(result.exception).startswith("dataset_missing: ")
    assert not (tmp_path / "run").exists()


def test_a_run_that_cannot_start_leaves_no_run_file(dataset, options, tmp_path):
    run = tmp_path / "run"
    result = joyvasa("train", dataset, "--out", run, "--device", "cuda:99", *options)
    assert str(result.exception).startswith("device_unavailable: ")
    assert not (run / "train.yaml").exists()


@pytest.mark.parametrize("option", [["--json"], ["--retry", "failed"]])
def test_options_of_other_runs_are_refused_for_a_training_run(tmp_path, option):
    (tmp_path / "train.yaml").touch()
    result = joyvasa("resume", tmp_path, *option)
    assert result.exit_code == 2
    sentence = " ".join(result.stderr.replace("│", " ").split())  # without its frame
    assert f"{option[0]}:" in sentence
    assert "is a training run" in sentence


def test_more_workers_than_gpus_are_refused_if_gpus_are_requested():
    assert [_use_gpus(device, 2, 2) for device in ("auto", "cuda", "cpu")] == [True, True, False]
    assert not _use_gpus("auto", 2, 1)
    with pytest.raises(EnvironmentFault, match=r"device_unavailable: cuda: the cluster has 1 GPUs.*2 workers"):
        _use_gpus("cuda", 2, 1)


def test_a_lock_is_renewed_until_it_is_lost(monkeypatch):
    monkeypatch.setattr(training_ray, "RENEW_S", 0.001)
    calls, lost = iter(range(3)), threading.Event()

    def renew():
        if next(calls) == 2:
            lost.set()
            raise ManifestError("run_locked", "taken")

    with pytest.raises(ManifestError, match="run_locked"), training_ray._renew_regularly(renew):
        assert lost.wait(30)


def test_a_worker_stops_before_it_writes_without_the_lock(monkeypatch):
    monkeypatch.setattr(training_ray, "CHECK_S", 0.0)
    storage, steps = open_storage("memory://lost-lock"), []
    with LeaseLock(storage) as lock:
        on_step = training_ray._with_lock_check(lambda step, values: steps.append(step), storage, lock.token)
        on_step(1, {})
        storage.write(".lock", b'{"token": "of another", "host": "elsewhere", "pid": 7}')
        with pytest.raises(ManifestError, match=r"run_locked.*process 7 on elsewhere"):
            on_step(2, {})
    assert steps == [1]
    storage.remove(".lock")


@pytest.mark.slow
def test_two_workers_have_the_losses_of_one(dataset, options, tmp_path):
    pytest.importorskip("ray.train.torch", reason="the packages of Ray Train are not installed")
    for workers in (1, 2):
        command = ["train", dataset, "--out", tmp_path / str(workers), "--workers", workers, "--steps", 20, *options]
        code = "import sys; from pipelines.cli.main import main; main()"
        run = subprocess.run(
            [sys.executable, "-c", code, *map(str, command)],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=580,
            check=False,
        )
        assert run.returncode == 0, run.stderr
    one, two = losses(tmp_path / "1"), losses(tmp_path / "2")
    assert [step for step, *_ in two] == list(range(1, 21))
    for (_, loss, norm), (_, other_loss, other_norm) in zip(one, two, strict=True):
        assert other_loss == pytest.approx(loss, rel=1e-4)
        assert other_norm == pytest.approx(norm, rel=1e-4)
    assert Checkpoints(open_storage(tmp_path / "2")).read_progress(20).validation_loss == pytest.approx(
        Checkpoints(open_storage(tmp_path / "1")).read_progress(20).validation_loss, rel=1e-4
    )


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--out", "full"], "output_exists"),
        (["--out", "full/file/bundle"], "output_unwritable"),
        (["--out", "new", "--published", "full"], "output_unwritable"),
        (["--out", "new", "--base", "nothing"], "bundle_unknown"),
    ],
)
def test_a_bundle_is_checked_before_its_checkpoint_is_loaded(tmp_path, monkeypatch, options, code):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    monkeypatch.chdir(tmp_path)
    assert str(joyvasa("bundle", "no-run", *options).exception).startswith(f"{code}: ")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_a_run_folder_that_cannot_be_written_is_an_error_of_one_sentence(dataset, options, tmp_path):
    (tmp_path / "file").touch()
    result = joyvasa("train", dataset, "--out", tmp_path / "file/run", *options)
    assert str(result.exception).startswith("output_unwritable: ")
