"""Frames are computed side by side by threads that use no further threads."""

import os
import subprocess
import sys
import threading

import pytest
import torch

from joyvasa.networks.cpu.frame_threads import FrameThreads


@pytest.fixture(params=[1, 3])
def n_threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_each_frame_has_one_thread_and_the_caller_keeps_its_own(n_threads):
    together = threading.Barrier(n_threads)

    def compute(frame):
        together.wait(60)  # passes only if as many frames are computed at the same time
        return frame, torch.get_num_threads()

    threads = FrameThreads()
    for _ in range(2):
        assert threads.map(compute, range(2 * n_threads)) == [(frame, 1) for frame in range(2 * n_threads)]
    assert torch.get_num_threads() == n_threads


def test_threads_that_start_later_have_the_number_of_the_caller(n_threads):
    FrameThreads().map(lambda frame: frame, range(3))
    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [n_threads]


def test_frames_are_computed_without_gradients_in_the_precision_of_the_caller(n_threads):
    weight = torch.ones(2, 2, requires_grad=True)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        results = FrameThreads().map(lambda frame: frame @ weight, torch.ones(3, 2, 2))
    assert [result.dtype for result in results] == [torch.bfloat16] * 3
    assert not any(result.requires_grad for result in results)


def test_an_error_of_a_frame_is_raised(n_threads):
    with pytest.raises(ZeroDivisionError):
        FrameThreads().map(lambda frame: 1 // frame, [1, 0, 1])


@pytest.mark.parametrize(("chosen", "expected"), [(None, "passive"), ("active", "active")])
def test_threads_of_pytorch_wait_passively_unless_the_user_decides(chosen, expected):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": chosen} if chosen else {}
    code = "import joyvasa, os; print(os.environ['OMP_WAIT_POLICY'])"
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == expected
