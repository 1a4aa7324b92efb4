"""Calls are as large as the device needs; freed memory is reused: large arrays cause page faults only once."""

import subprocess
import sys

import pytest
import torch

from joyvasa.runtime import memory

PAGES = """
import resource, sys
import torch
from joyvasa.runtime.memory import keep_freed_memory
from tests.allocation import default_allocation
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.ones(12_000_000)  # 48 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
default_faults = faults()
supported = keep_freed_memory()
for _ in range(8):
    faults()
reused_faults = faults()
with default_allocation():
    suspended_faults = faults()
print(int(supported), default_faults, reused_faults, suspended_faults)
"""


def test_large_arrays_reuse_memory():
    printed = subprocess.run([sys.executable, "-c", PAGES], check=True, capture_output=True, text=True).stdout
    supported, default_faults, reused_faults, suspended_faults = map(int, printed.split())
    if not supported:
        pytest.skip("this system's malloc has no such setting")
    assert default_faults > 10_000  # pages of 4 KiB; an array has 11,700
    assert reused_faults < default_faults / 10
    assert suspended_faults > 10_000


def test_other_systems_are_not_supported(monkeypatch):
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert not memory.keep_freed_memory()


def test_only_a_cpu_with_large_networks_computes_single_frames():
    large, cpu, gpu = memory.SMALL_NETWORK_BYTES + 1, torch.device("cpu"), torch.device("cuda")
    assert memory.choose_batch_frames(cpu, large) == 1
    assert memory.choose_batch_frames(cpu, memory.SMALL_NETWORK_BYTES) > 1
    assert memory.choose_batch_frames(gpu, large) > 1
