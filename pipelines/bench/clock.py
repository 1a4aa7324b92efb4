"""Times of calls, and the memory that they take."""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

MOST_CALLS = 50  # of one case; more tell nothing new


@dataclass(frozen=True)
class Timing:
    """How long calls of one function took.

    Attributes:
        seconds: of each call, by the clock on the wall.
        processor_s: of each call, summed over the threads of this process; steadier where others use the machine.
    """

    seconds: tuple[float, ...]
    processor_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """Of the wall-clock times."""
        return statistics.median(self.seconds)

    @property
    def median_processor_s(self) -> float:
        """Of the processor times."""
        return statistics.median(self.processor_s)


def synchronise(device: torch.device) -> None:
    """Waits until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def repeated(function: Callable[[], object], device: torch.device, *, for_s: float) -> Timing:
    """Calls a function again and again.

    Args:
        function: what is timed; called once at least.
        device: that it works on.
        for_s: after so many seconds no further call begins.
    """
    return repeated_in_turns({"": function}, device, for_s=for_s)[""]


def repeated_in_turns(
    functions: Mapping[str, Callable[[], object]], device: torch.device, *, for_s: float
) -> dict[str, Timing]:
    """Call functions in turns, again and again.

    Args:
        functions: what is timed, by name; each is called once at least.
        device: where they compute.
        for_s: after so many seconds for each function no further turn begins.
    """
    calls: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
    spent_s, turns = 0.0, 0
    while not turns or (spent_s < for_s * len(functions) and turns < MOST_CALLS):
        for name, function in functions.items():
            calls[name].append(_timed(function, device))
            spent_s += calls[name][-1][0]
        turns += 1
    return {name: _timing(made) for name, made in calls.items()}


def interleaved(
    functions: Mapping[str, Callable[[], object]], device: torch.device, *, rounds: int
) -> dict[str, Timing]:
    """Calls several functions in turns, so that what else the machine does meets all of them.

    Args:
        functions: by name.
        device: that they work on.
        rounds: calls of each.
    """
    calls: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            calls[name].append(_timed(function, device))
    return {name: _timing(made) for name, made in calls.items()}


def _timed(function: Callable[[], object], device: torch.device) -> tuple[float, float]:
    synchronise(device)
    wall, processor = time.perf_counter(), time.process_time()
    function()
    synchronise(device)
    return time.perf_counter() - wall, time.process_time() - processor


def _timing(calls: list[tuple[float, float]]) -> Timing:
    return Timing(tuple(wall for wall, _ in calls), tuple(processor for _, processor in calls))


class PeakMemory:
    """A block whose largest additional memory is measured.

    On a GPU what PyTorch took there, on the CPU what this process grew by; not available (None) on other systems than
    Linux.

    Args:
        device: that the block works on.
    """

    n_bytes: int | None = None

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before: int | None = None

    def __enter__(self) -> Self:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)
        else:
            _reset_peak()
            self._before = process_memory("VmRSS")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        on_gpu = self._device.type == "cuda"
        peak = torch.cuda.max_memory_allocated(self._device) if on_gpu else process_memory("VmHWM")
        if peak is not None and self._before is not None:
            self.n_bytes = max(0, peak - self._before)


def process_memory(name: str) -> int | None:
    """Bytes of this process as Linux counts them.

    Args:
        name: `VmRSS` now, `VmHWM` at most so far.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:")), None)


def _reset_peak() -> None:
    """Gives freed memory back and lets the peak begin at what is left."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except (OSError, AttributeError):  # not Linux, or not allowed: the peak is that of the process so far
        pass
