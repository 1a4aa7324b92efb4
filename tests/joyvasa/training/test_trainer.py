import dataclasses
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pyarrow as pa
import pytest
import torch

from joyvasa.config import config_to_dict
from joyvasa.errors import ConfigError, InputError, ModelError
from joyvasa.training.checkpoint import Checkpoints
from joyvasa.training.clips import ClipRecord
from joyvasa.training.config import TrainingConfig
from joyvasa.training.dataset import Dataset
from joyvasa.training.log import read_log
from joyvasa.training.step_cost import measure_step_cost
from joyvasa.training.trainer import Trainer
from manifests.run.outcome_table import encode_parquet
from manifests.storage import open_storage
from tests.joyvasa.training.small import small_config, small_dataset

ROOT = Path(__file__).parents[3]
KILL_LIMIT_S = 240.0


def make_trainer(dataset, folder, config=None, **options):
    return Trainer(config or small_config(), dataset, open_storage(folder), **options)


def read_rows(folder, *names):
    rows = read_log(open_storage(folder)).to_pylist()
    return [tuple(row[name] for name in names) for row in rows]


def losses(folder):
    return read_rows(folder, "step", "loss", "gradient_norm", "validation_loss")


@pytest.fixture(scope="module")
def uninterrupted(dataset, tmp_path_factory):
    """Return the folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    make_trainer(dataset, folder).run()
    return folder


def test_the_loss_falls(dataset, tmp_path):
    config = small_config(steps=60, optimizer={"learning_rate": 3e-3}, checkpoints={"every_steps": 60})
    result = make_trainer(dataset, tmp_path, config).run()
    first = sum(loss for (loss,) in read_rows(tmp_path, "loss")[:10])
    last = sum(loss for (loss,) in read_rows(tmp_path, "loss")[-10:])
    assert last < 0.9 * first
    assert result.step == 60
    assert math.isfinite(result.validation_loss)


def test_a_repeated_run_has_the_same_losses(dataset, uninterrupted, tmp_path):
    make_trainer(dataset, tmp_path).run()
    assert losses(tmp_path) == losses(uninterrupted)


def test_a_stopped_and_resumed_run_has_the_same_losses(dataset, uninterrupted, tmp_path):
    stop = iter([False, True])
    assert make_trainer(dataset, tmp_path, stop=lambda: next(stop)).run().step == 2
    assert make_trainer(dataset, tmp_path).run().step == 6
    assert losses(tmp_path) == losses(uninterrupted)


def test_a_finished_run_has_nothing_to_do(dataset, tmp_path):
    make_trainer(dataset, tmp_path, small_config(steps=1)).run()
    before = losses(tmp_path)
    result = make_trainer(dataset, tmp_path, small_config(steps=1)).run()
    assert (result.step, losses(tmp_path)) == (1, before)


def test_a_run_interrupted_while_it_writes_loses_only_the_steps_after_the_last_checkpoint(
    dataset, uninterrupted, tmp_path, monkeypatch
):
    save = Checkpoints.save

    def interrupted(self, progress, tensors, *, keep):
        if progress.step == 6:
            raise KeyboardInterrupt  # the log of these steps is written, but not their weights
        save(self, progress, tensors, keep=keep)

    monkeypatch.setattr(Checkpoints, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_trainer(dataset, tmp_path).run()
    monkeypatch.undo()
    assert Checkpoints(open_storage(tmp_path)).steps() == [3]
    make_trainer(dataset, tmp_path).run()
    assert losses(tmp_path) == losses(uninterrupted)


SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from joyvasa.training.dataset import Dataset
from joyvasa.training.trainer import Trainer
from manifests.run.outcome_table import encode_parquet
from manifests.storage import open_storage
from tests.joyvasa.training.small import small_config
config = small_config(steps=int(sys.argv[3]), checkpoints={"every_steps": 2})
Trainer(config, Dataset(open_storage(sys.argv[1])), open_storage(sys.argv[2])).run()
"""


def kill_after(dataset, folder, steps, n_checkpoints):
    """Train in a process and kill it after a number of new checkpoints; return False if it finished before."""
    checkpoints = Checkpoints(open_storage(folder))
    before = max(checkpoints.steps(), default=0)
    command = [sys.executable, "-c", SCRIPT, dataset.files.root, str(folder), str(steps)]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    limit = time.monotonic() + KILL_LIMIT_S
    while process.poll() is None and max(checkpoints.steps(), default=0) < before + 2 * n_checkpoints:
        assert time.monotonic() < limit
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, 4])
def test_a_killed_and_resumed_run_has_the_same_losses(dataset, tmp_path, kills):
    steps = 40 + 80 * (kills - 1)
    config = small_config(steps=steps, checkpoints={"every_steps": 2})
    for kill in range(kills):
        assert kill_after(dataset, tmp_path / "killed", steps, 2 + kill), "the run finished before it was killed"
    make_trainer(dataset, tmp_path / "killed", config).run()
    make_trainer(dataset, tmp_path / "uninterrupted", config).run()
    assert losses(tmp_path / "killed") == losses(tmp_path / "uninterrupted")
    ends = [Checkpoints(open_storage(tmp_path / name)).load(steps)[1] for name in ("killed", "uninterrupted")]
    assert all(torch.equal(ends[0][name], value) for name, value in ends[1].items())


def test_the_log_has_all_steps_and_values(uninterrupted):
    names = ["step", "loss", "prediction", "expression", "head_transition", "gradient_norm", "learning_rate"]
    rows = read_rows(uninterrupted, *names, "samples_per_s", "compute_share", "epoch", "validation_loss")
    assert [row[0] for row in rows] == list(range(1, 7))
    assert all(math.isfinite(value) for row in rows for value in row[:-1])
    assert [row[-1] is not None for row in rows] == [False, False, True, False, False, True]


@pytest.mark.parametrize(
    "content", [b"PAR1", encode_parquet(pa.table({"step": [1]})), encode_parquet(pa.table({"step": ["a"]}))]
)
def test_a_damaged_log_is_one_sentence(uninterrupted, tmp_path, content):
    shutil.copytree(uninterrupted / "log", tmp_path / "log")
    next(iter((tmp_path / "log").iterdir())).write_bytes(content)
    with pytest.raises(InputError, match=r"log_unreadable: .*parquet: cannot be read .*restore or remove it"):
        read_log(open_storage(tmp_path))


def test_the_convolutions_of_the_encoder_are_frozen(dataset, uninterrupted):
    end = Checkpoints(open_storage(uninterrupted)).load(6)[1]
    with torch.random.fork_rng():
        start = make_trainer(dataset, uninterrupted.parent / "none").network.state_dict()
    changed = {name for name, value in start.items() if not torch.equal(end[f"model.{name}"], value)}
    assert not {name for name in changed if name.startswith("audio_encoder.feature_extractor")}
    assert {name.split(".")[0] for name in changed} >= {
        "audio_encoder",
        "audio_feature_map",
        "denoising_net",
        "start_motion_feat",
        "null_audio_feat",
    }


@pytest.mark.parametrize(
    "options",
    [
        {"network": {"motion_feat_dim": 73, "n_prev_motions": 3}},
        {"network": {"target": "noise"}},
        {"precision": "bf16"},
        {"precision": "fp16"},
        {"loss": {"losses": "reference", "criterion": "l1", "compare_previous": False}},
        {"optimizer": {"ema_decay": 0.9, "schedule": "cosine", "warmup_steps": 1}},
        {"samples": {"truncation": [1, 1], "truncation_mode": "replicate"}},
    ],
    ids=lambda options: "-".join(options),
)
def test_a_step_with_other_options_has_a_finite_loss(dataset, tmp_path, options):
    config = small_config(steps=2, checkpoints={"every_steps": 2}, **options)
    assert math.isfinite(make_trainer(dataset, tmp_path, config).run().validation_loss)


def test_averaged_weights_are_used_only_in_evaluation_mode(dataset, tmp_path):
    config = small_config(optimizer={"ema_decay": 0.5})
    run = make_trainer(dataset, tmp_path, config)
    run.run()
    name = "denoising_net.feature_proj.weight"
    trained = run.network.state_dict()[name].clone()
    with run.evaluation_mode():
        assert torch.equal(run.network.state_dict()[name], run.optimizer.average[name])
        assert not run.network.training
    assert torch.equal(run.network.state_dict()[name], trained)
    assert run.network.training


def test_pictures_are_plotted_at_most_once_per_epoch(dataset, tmp_path):
    config = small_config(steps=4, batch_size=2, checkpoints={"every_steps": 1, "pictures": 1})
    make_trainer(dataset, tmp_path, config).run()  # epochs of 2.5 steps
    pictures = sorted(path.relative_to(tmp_path / "pictures") for path in (tmp_path / "pictures").rglob("*.png"))
    assert [str(path) for path in pictures] == ["00000003/clip-100.png"]
    assert cv2.imread(str(tmp_path / "pictures" / pictures[0])).shape == (760, 960, 3)


def test_values_are_written_for_tensorboard(dataset, tmp_path):
    pytest.importorskip("tensorboardX")
    make_trainer(dataset, tmp_path, small_config(steps=1, checkpoints={"tensorboard": True})).run()
    events = b"".join(path.read_bytes() for path in (tmp_path / "tensorboard").iterdir())
    assert all(name in events for name in (b"loss", b"gradient_norm", b"learning_rate", b"samples_per_s"))


def test_a_data_set_without_a_validation_split_can_be_used(tmp_path):
    dataset = small_dataset(tmp_path / "set", validation=0)
    result = make_trainer(dataset, tmp_path / "run", small_config(steps=3, checkpoints={"pictures": 1})).run()
    assert result.validation_loss is None
    assert list((tmp_path / "run/pictures").rglob("*.png"))


def test_a_data_set_with_other_statistics_is_refused(dataset, uninterrupted, tmp_path):
    other = small_dataset(tmp_path, train=6)
    with pytest.raises(ModelError, match="template_mismatch"):
        make_trainer(other, uninterrupted)


def test_a_data_set_with_other_clips_of_the_same_statistics_is_refused(dataset, uninterrupted, monkeypatch):
    other = Dataset(dataset.files)
    monkeypatch.setattr(other, "card", dataclasses.replace(other.card, fingerprint="another"))
    with pytest.raises(ModelError, match="dataset_mismatch"):
        make_trainer(other, uninterrupted)


def test_options_that_do_not_fit_the_checkpoint_are_refused(dataset, uninterrupted):
    with pytest.raises(ModelError, match=r"checkpoint_damaged: .*step 6 does not fit"):
        make_trainer(dataset, uninterrupted, small_config(network={"decoder_hidden": 32}))


def test_a_loss_that_is_not_finite_ends_the_run_before_the_weights_change(dataset, tmp_path, monkeypatch):
    waveform = ClipRecord.waveform
    monkeypatch.setattr(ClipRecord, "waveform", lambda clip: waveform(clip) * float("nan"))
    with pytest.raises(ModelError, match=r"training_diverged: .*step 1"):
        make_trainer(dataset, tmp_path).run()


def test_a_gradient_that_is_not_finite_is_reported_before_weights_are_lost(dataset, tmp_path):
    config = small_config(steps=2, checkpoints={"every_steps": 1})
    trainer = make_trainer(dataset, tmp_path, config)
    next(iter(trainer.optimizer.parameters.values())).register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(ModelError, match=r"training_diverged: .*gradient of step 1 is not finite"):
        trainer.run()
    assert make_trainer(dataset, tmp_path, config).run().step == 2


@pytest.mark.parametrize(("workers", "size"), [(3, None), (2, 4), (8, None)])
def test_micro_batches_that_cannot_be_divided_among_workers_are_refused(workers, size):
    with pytest.raises(ConfigError, match="batch_size 4 in micro-batches"):
        small_config(micro_batch_size=size).for_workers(workers)


def test_too_few_frames_before_a_window_are_refused():
    with pytest.raises(ConfigError, match=r"network\.n_prev_motions is 2; expected at least 3"):
        small_config(network={"n_prev_motions": 2})


def test_options_survive_serialization():
    assert config_to_dict(small_config().for_workers(2)) == config_to_dict(small_config(micro_batch_size=2))
    defaults = TrainingConfig()
    assert (defaults.network.motion_feat_dim, defaults.network.n_prev_motions) == (70, 25)


def test_the_cost_of_steps_is_measured_without_writing_files(dataset, tmp_path):
    cost = measure_step_cost(small_config(steps=3600), dataset, open_storage(tmp_path / "none"), steps=2)
    assert cost.hours == pytest.approx(cost.step_s)
    assert cost.peak_bytes > 1e6
    assert not (tmp_path / "none").exists()
