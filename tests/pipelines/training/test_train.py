"""`joyvasa train`, `resume`, `bundle`: from a data set to a video made with what was trained."""

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from joyvasa.config import plain
from joyvasa.errors import EnvironmentFault
from joyvasa.training.checkpoint import Checkpoints
from joyvasa.training.config import TrainingConfig
from joyvasa.training.log import TrainingLog, read_log
from manifests.errors import ManifestError
from manifests.run.lock import LeaseLock
from manifests.storage import open_storage
from pipelines.cli.main import app
from pipelines.training import ray as training_ray
from pipelines.training.ray import _with_gpus
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
        yaml.safe_dump(json.loads(json.dumps(plain(small_config(steps=4, checkpoints={"every_steps": 2})))))
    )
    return ["--config", str(file)]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def joyvasa(*arguments):
    """A command in this process."""
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

    again = joyvasa("train", dataset, "--out", run, *options)
    assert str(again.exception).startswith("run_exists: ")
    resumed = joyvasa("resume", run)
    assert (resumed.exit_code, "step 4" in resumed.stdout) == (0, True), resumed.output

    told = json.loads(joyvasa("status", run, "--json").stdout)
    assert (told["steps"], told["done"]) == (4, 4)
    assert told["loss"] == pytest.approx(losses(run)[-1][1])
    assert "best step" in joyvasa("status", run).stdout

    made = joyvasa("bundle", run, "--out", bundle, "--base", "random", "--published", tmp_path / "iter.pt")
    assert made.exit_code == 0, made.output
    assert (tmp_path / "iter.pt").is_file()
    animated = joyvasa("animate", EXAMPLES / "portrait.jpg", EXAMPLES / "speech.flac", "-o", video, "--models", bundle)
    assert animated.exit_code == 0, animated.output
    assert video.stat().st_size > 10_000


def test_a_run_that_is_asked_to_stop_keeps_what_it_has(dataset, options, tmp_path, monkeypatch):
    save = TrainingLog.add

    def interrupted(self, step, values):
        save(self, step, values)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(TrainingLog, "add", interrupted)
    stopped = joyvasa("train", dataset, "--out", tmp_path / "run", *options)
    monkeypatch.undo()
    assert stopped.exit_code == 130
    assert "joyvasa resume" in stopped.stderr
    assert Checkpoints(open_storage(tmp_path / "run")).steps() == [2]
    resumed = joyvasa("resume", tmp_path / "run")
    assert (resumed.exit_code, "step 4 of 4" in resumed.stdout) == (0, True), resumed.output


def test_a_dry_run_tells_the_hours_and_writes_nothing(dataset, options):
    told = joyvasa("train", dataset, "--dry-run", *options)
    assert told.exit_code == 0, told.output
    assert "4 steps take 0.0 hours" in told.stdout


def test_what_is_no_data_set_is_told_in_one_sentence(options, tmp_path):
    told = joyvasa("train", tmp_path / "nothing", "--out", tmp_path / "run", *options)
    assert str(told.exception).startswith("dataset_missing: ")
    assert not (tmp_path / "run").exists()


def test_a_run_that_could_not_begin_leaves_no_run_behind(dataset, options, tmp_path):
    run = tmp_path / "run"
    told = joyvasa("train", dataset, "--out", run, "--device", "cuda:99", *options)
    assert str(told.exception).startswith("device_unavailable: ")
    assert not (run / "train.yaml").exists()


@pytest.mark.parametrize("option", [["--json"], ["--retry", "failed"]])
def test_options_of_other_runs_are_refused_when_a_training_run_is_resumed(tmp_path, option):
    (tmp_path / "train.yaml").touch()
    told = joyvasa("resume", tmp_path, *option)
    assert told.exit_code == 2
    sentence = " ".join(told.stderr.replace("│", " ").split())  # without the frame around it
    assert f"{option[0]}:" in sentence
    assert "is a training run" in sentence


def test_workers_without_gpus_of_their_own_are_refused_where_gpus_were_asked_for():
    assert [_with_gpus(device, 2, 2) for device in ("auto", "cuda", "cpu")] == [True, True, False]
    assert not _with_gpus("auto", 2, 1)
    with pytest.raises(EnvironmentFault, match=r"device_unavailable: cuda: the cluster has 1 GPUs.*2 workers"):
        _with_gpus("cuda", 2, 1)


def test_a_lock_is_renewed_after_a_storage_failed_and_told_when_it_was_lost(monkeypatch):
    monkeypatch.setattr(training_ray, "WAIT_S", 0.001)
    errors = [OSError("away"), ManifestError("output_unwritable", "away"), ManifestError("run_locked", "taken")]
    calls, lost = iter(errors), threading.Event()

    def renew():
        error = next(calls)
        if error is errors[-1]:
            lost.set()
        raise error

    with pytest.raises(ManifestError, match="run_locked"), training_ray._regularly(renew):
        assert lost.wait(30)


def test_workers_write_nothing_more_once_another_process_has_the_lock(monkeypatch):
    monkeypatch.setattr(training_ray, "LOOK_S", 0.0)
    storage, told = open_storage("memory://lost-lock"), []
    with LeaseLock(storage) as lock:
        tell = training_ray._while_held(storage, lock.token, lambda step, values: told.append(step))
        tell(1, {})
        storage.write(".lock", b'{"token": "of another", "host": "elsewhere", "pid": 7}')
        with pytest.raises(ManifestError, match=r"run_locked.*process 7 on elsewhere"):
            tell(2, {})
    assert told == [1]
    storage.remove(".lock")


@pytest.mark.slow
def test_two_workers_give_the_losses_of_one(dataset, options, tmp_path):
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
    assert Checkpoints(open_storage(tmp_path / "2")).progress(20).validation_loss == pytest.approx(
        Checkpoints(open_storage(tmp_path / "1")).progress(20).validation_loss, rel=1e-4
    )


def test_every_option_of_training_is_explained():
    readme = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## Train")[1].split("\n## ")[0]
    config = TrainingConfig()
    parts = ("samples", "loss", "optimizer", "checkpoints")
    names = [field.name for field in fields(config) if field.name not in (*parts, "network")]
    names += [f"{part}.{field.name}" for part in parts for field in fields(getattr(config, part))]
    assert [name for name in names if f"`{name}`" not in readme] == []
