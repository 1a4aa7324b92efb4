"""Compare the speed and the results of two implementations."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipelines.bench.timing import Timing, time_in_turns


@dataclass(frozen=True)
class Comparison:
    """Times of a plain and a fast implementation, the plain result, and the largest error relative to its maximum."""

    plain: Timing
    fast: Timing
    result: Tensor
    relative_error: float


def compare_speed(plain: Callable[[], Tensor], fast: Callable[[], Tensor], *, rounds: int) -> Comparison:
    """Call both implementations in turns, on the CPU."""
    results: dict[str, Tensor] = {}

    def store_result(name: str, function: Callable[[], Tensor]) -> Callable[[], None]:
        return lambda: results.__setitem__(name, function())

    functions = {"plain": store_result("plain", plain), "fast": store_result("fast", fast)}
    timings = time_in_turns(functions, torch.device("cpu"), rounds=rounds)
    error = (results["plain"] - results["fast"]).abs().max() / results["plain"].abs().max()
    return Comparison(timings["plain"], timings["fast"], results["plain"], float(error))
