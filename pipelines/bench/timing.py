"""Execution time and peak memory of function calls."""

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

MAX_CALLS = 50  # per function; more calls add no information


@dataclass(frozen=True)
class Timing:
    """Execution times of repeated calls of one function."""

    seconds: tuple[float, ...]  # wall-clock time of each call
    # processor time of each call, summed over the threads of this process; more stable than wall-clock time on a shared
    # machine
    processor_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """Median of the wall-clock times."""
        return statistics.median(self.seconds)

    @property
    def median_processor_s(self) -> float:
        """Median of the processor times."""
        return statistics.median(self.processor_s)


def synchronize(device: torch.device) -> None:
    """Wait until all work submitted to the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_function(function: Callable[[], object], device: torch.device, *, for_s: float) -> Timing:
    """Time one function; see `time_in_turns`."""
    return time_in_turns({"": function}, device, for_s=for_s)[""]


def time_in_turns(
    functions: Mapping[str, Callable[[], object]],
    device: torch.device,
    *,
    rounds: int = MAX_CALLS,
    for_s: float | None = None,
) -> dict[str, Timing]:
    """Time functions in turns, so that other load on the machine affects all of them alike.

    Args:
        functions: functions by name; each is called at least once.
        device: device that the functions compute on.
        rounds: maximum number of calls per function.
        for_s: time limit per function in seconds; no new round starts after that. None for no limit.
    """
    calls: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
    limit_s, spent_s = float("inf") if for_s is None else for_s * len(functions), 0.0
    for number in range(rounds):
        if number and spent_s >= limit_s:
            break
        for name, function in functions.items():
            calls[name].append(_time_call(function, device))
            spent_s += calls[name][-1][0]
    return {name: Timing(*zip(*times, strict=True)) for name, times in calls.items()}


def _time_call(function: Callable[[], object], device: torch.device) -> tuple[float, float]:
    synchronize(device)
    wall, processor = time.perf_counter(), time.process_time()
    function()
    synchronize(device)
    return time.perf_counter() - wall, time.process_time() - processor


class PeakMemory:
    """Context manager that measures the peak memory of a block on top of what was allocated before it.

    On a GPU it counts PyTorch's allocations, on the CPU the growth of this process. `n_bytes` is None on systems other
    than Linux.
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
    """Return the memory of this process in bytes, from /proc; None on systems other than Linux.

    Args:
        name: `VmRSS` for the current size, `VmHWM` for the peak.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:")), None)


def _reset_peak() -> None:
    """Return freed memory to the system and reset the peak to the current size."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except (OSError, AttributeError):  # not Linux, or not permitted: the peak stays that of the whole process
        pass
