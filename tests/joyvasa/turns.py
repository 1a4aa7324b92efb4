"""Two ways to compute the same, in turns."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipelines.bench.timing import Timing, time_in_turns


@dataclass(frozen=True)
class Comparison:
    """What two ways took, the result of the plain one, and how far the results lie apart, of its largest value."""

    plain: Timing
    here: Timing
    result: Tensor
    apart: float


def compare(plain: Callable[[], Tensor], here: Callable[[], Tensor], *, rounds: int) -> Comparison:
    """Calls both in turns, on the CPU."""
    results: dict[str, Tensor] = {}

    def kept(name: str, way: Callable[[], Tensor]) -> Callable[[], None]:
        return lambda: results.__setitem__(name, way())

    ways = {"plain": kept("plain", plain), "here": kept("here", here)}
    timings = time_in_turns(ways, torch.device("cpu"), rounds=rounds)
    apart = (results["plain"] - results["here"]).abs().max() / results["plain"].abs().max()
    return Comparison(timings["plain"], timings["here"], results["plain"], float(apart))
