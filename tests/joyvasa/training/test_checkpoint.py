import pytest
import torch

from joyvasa.errors import ModelError
from joyvasa.training.checkpoint import Checkpoints, TrainingProgress
from manifests.storage import open_storage

TENSORS = {"model.a": torch.arange(6.0).reshape(2, 3), "model.b": torch.zeros((), dtype=torch.int64)}


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(open_storage(tmp_path))


def save(checkpoints, losses, keep=2):
    for step, loss in losses.items():
        checkpoints.save(TrainingProgress(step=step, validation_loss=loss), TENSORS, keep=keep)


def test_the_newest_and_the_best_checkpoints_are_kept(checkpoints):
    save(checkpoints, {10: 3.0, 20: 1.0, 30: 2.0, 40: 2.5, 50: 2.2})
    assert checkpoints.steps() == [20, 40, 50]
    assert checkpoints.best_step() == 20


def test_a_new_best_checkpoint_replaces_the_old_one(checkpoints):
    save(checkpoints, {10: 1.0, 20: 3.0, 30: 3.0, 40: 0.5})
    assert checkpoints.steps() == [30, 40]


def test_the_newest_is_the_best_without_a_validation(checkpoints):
    save(checkpoints, {10: None, 20: None, 30: None})
    assert checkpoints.steps() == [20, 30]
    assert checkpoints.best_step() == 30


def test_a_loss_that_is_not_finite_is_never_the_best(checkpoints):
    save(checkpoints, {10: float("nan"), 20: 2.0, 30: float("-inf")}, keep=3)
    assert checkpoints.best_step() == 20


def test_a_saved_checkpoint_is_loaded_unchanged(checkpoints):
    progress = TrainingProgress(step=7, validation_loss=0.5, dataset="d", config={"steps": 9}, scaler={"scale": 2.0})
    checkpoints.save(progress, TENSORS, keep=1)
    loaded, tensors = checkpoints.load(7)
    assert loaded == progress
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())


def test_an_interrupted_checkpoint_does_not_appear(checkpoints, monkeypatch):
    save(checkpoints, {10: 1.0})

    def interrupted(tensors, path, metadata):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("safetensors.torch.save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(checkpoints, {20: 0.5})
    assert checkpoints.steps() == [10]


def test_partial_files_of_a_killed_process_are_removed(checkpoints, tmp_path):
    save(checkpoints, {10: 1.0})
    (tmp_path / "checkpoints/.partial-1-00000020.safetensors").write_bytes(b"half")
    assert checkpoints.steps() == [10]
    checkpoints.remove_partial()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["00000010.safetensors"]


@pytest.mark.parametrize("content", [b"", b"x" * 4, b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}", b"\x02\0\0\0\0\0\0\0[]"])
def test_damaged_files_are_an_error(checkpoints, tmp_path, content):
    save(checkpoints, {10: 1.0})
    (tmp_path / "checkpoints/00000010.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"checkpoint_damaged: .*00000010"):
        checkpoints.load(10)


def test_a_truncated_file_is_an_error(checkpoints, tmp_path):
    save(checkpoints, {10: 1.0})
    path = tmp_path / "checkpoints/00000010.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match="checkpoint_damaged"):
        checkpoints.load(10)


def test_a_file_of_another_step_is_an_error(checkpoints, tmp_path):
    save(checkpoints, {10: 1.0})
    (tmp_path / "checkpoints/00000010.safetensors").rename(tmp_path / "checkpoints/00000020.safetensors")
    with pytest.raises(ModelError, match="holds step 10"):
        checkpoints.read_progress(20)
