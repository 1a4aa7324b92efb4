"""Freed memory is used again: large arrays cost no page faults but the first."""

import subprocess
import sys

import pytest

from joyvasa.runtime import memory as allocation

PAGES = """
import resource, sys
import torch
from joyvasa.runtime.memory import keep_freed_memory, default_allocation
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.ones(12_000_000)  # 48 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
usual = faults()
possible = keep_freed_memory()
for _ in range(8):
    faults()
kept = faults()
with default_allocation():
    again = faults()
print(int(possible), usual, kept, again)
"""


def test_large_arrays_reuse_memory():
    printed = subprocess.run([sys.executable, "-c", PAGES], check=True, capture_output=True, text=True).stdout
    possible, usual, kept, again = map(int, printed.split())
    if not possible:
        pytest.skip("this system's malloc has no such setting")
    assert usual > 10_000  # pages of 4 KiB; an array has 11,700
    assert kept < usual / 10
    assert again > 10_000


def test_elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr(allocation.sys, "platform", "darwin")
    assert not allocation.keep_freed_memory()
