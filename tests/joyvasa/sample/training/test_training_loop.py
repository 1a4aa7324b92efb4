"""Resuming and killing the training loop."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from joyvasa.sample.training.training_loop import LearningConfig, TrainingTask, load_averaged_weights, train_task

FOLDER = Path(__file__).parents[4]
LIMIT_S = 60.0


class Doubling(TrainingTask):
    name = "doubling"

    def __init__(self, *, prints_producers=False):
        self.network = nn.Linear(1, 1)
        self._prints_producers = prints_producers

    @staticmethod
    def draw_batches(*, seed):
        """Yield random numbers in batches of one megabyte, more than a pipe holds."""
        r = np.random.default_rng(seed)
        while True:
            yield (r.normal(size=(1 << 18, 1)).astype(np.float32),)

    def loss(self, batch):
        if self._prints_producers:
            print(*(child.pid for child in multiprocessing.active_children()), flush=True)
            time.sleep(LIMIT_S)
        loss = (self.network(batch[0]) - 2 * batch[0]).square().mean()
        return loss, {}


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def config(steps):
    return LearningConfig(steps=steps, learning_rate=0.1, warm_up_steps=1, threads=1)


@pytest.mark.slow
def test_training_resumes_from_its_checkpoint(tmp_path):
    torch.manual_seed(0)
    steps = []
    train_task(Doubling(), config(40), tmp_path, lambda step, figures: steps.append((step, figures["loss"])))
    train_task(Doubling(), config(100), tmp_path, lambda step, figures: steps.append((step, figures["loss"])))
    assert [step for step, _ in steps] == [20, 40, 60, 80, 100]
    assert steps[2][1] < steps[0][1] / 4  # the new task was initialized differently and loads the checkpoint
    learned = train_task(Doubling(), config(100), tmp_path, lambda *_: pytest.fail("training is already finished"))
    averaged = load_averaged_weights(tmp_path, "doubling")
    assert all(torch.equal(value, averaged[name]) for name, value in learned.state_dict().items())
    assert float(averaged["weight"]) == pytest.approx(2, abs=0.1)


@pytest.mark.slow
def test_producers_end_when_the_training_process_is_killed(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        f"from {__name__} import Doubling, Path, config, train_task\n"
        "if __name__ == '__main__':\n"  # its producers import it too
        f"    train_task(Doubling(prints_producers=True), config(10), Path({str(tmp_path)!r}), print)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(FOLDER)}
    trainer = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment)
    assert trainer.stdout
    producers = [int(pid) for pid in trainer.stdout.readline().split()]
    assert producers
    trainer.send_signal(signal.SIGKILL)
    trainer.wait()
    trainer.stdout.close()
    deadline = time.monotonic() + LIMIT_S
    while any(map(is_running, producers)):
        assert time.monotonic() < deadline, "a producer is still running"
        time.sleep(0.2)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
