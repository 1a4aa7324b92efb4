"""A training loop that may be killed at any moment."""

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

from joyvasa.sample.training.learning import LearningConfig, Task, averaged_weights, learn

FOLDER = Path(__file__).parents[4]
LIMIT_S = 60.0


class Batches:
    """Numbers whose double is wanted, in batches of a megabyte: more than a pipe holds."""

    def __init__(self, seed):
        self.seed = seed

    def __iter__(self):
        r = np.random.default_rng(self.seed)
        while True:
            yield (r.normal(size=(1 << 18, 1)).astype(np.float32),)


class Doubling(Task):
    name = "doubling"

    def __init__(self, *, says_its_producers=False):
        self.network = nn.Linear(1, 1)
        self._says = says_its_producers

    def batches(self, seed):
        return Batches(seed)

    def loss(self, batch):
        if self._says:
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


def test_what_was_stopped_goes_on_where_it_was(tmp_path):
    torch.manual_seed(0)
    steps = []
    learn(Doubling(), config(40), tmp_path, lambda step, figures: steps.append((step, figures["loss"])))
    learn(Doubling(), config(100), tmp_path, lambda step, figures: steps.append((step, figures["loss"])))
    assert [step for step, _ in steps] == [20, 40, 60, 80, 100]
    assert steps[2][1] < steps[0][1] / 4  # the second task began with other weights, and has those of the first one
    learned = learn(Doubling(), config(100), tmp_path, lambda *_: pytest.fail("it is at its end"))
    kept = averaged_weights(tmp_path, "doubling")
    assert all(torch.equal(value, kept[name]) for name, value in learned.state_dict().items())
    assert float(kept["weight"]) == pytest.approx(2, abs=0.1)


def test_no_process_is_left_behind_by_one_that_was_killed(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        f"from {__name__} import Doubling, Path, config, learn\n"
        "if __name__ == '__main__':\n"  # its producers import it, too
        f"    learn(Doubling(says_its_producers=True), config(10), Path({str(tmp_path)!r}), print)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(FOLDER)}
    trainer = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment)
    assert trainer.stdout
    producers = [int(pid) for pid in trainer.stdout.readline().split()]
    assert producers
    trainer.send_signal(signal.SIGKILL)
    trainer.wait()
    trainer.stdout.close()
    ends = time.monotonic() + LIMIT_S
    while any(map(works, producers)):
        assert time.monotonic() < ends, "it still waits for somebody to take its batches"
        time.sleep(0.2)


def works(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
