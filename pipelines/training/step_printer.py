"""Printing of the values of training steps."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from joyvasa.training.trainer import StepValues

LINE_S = 10.0  # interval of lines


class StepPrinter:
    """Step callback that prints a line at intervals, and one for each validation.

    Args:
        steps: number of steps of the whole run; None if unknown.
    """

    def __init__(self, steps: int | None) -> None:
        self._steps = steps
        self._printed_at = 0.0

    def __call__(self, step: int, values: StepValues) -> None:
        """Print the values of a step if a line is due."""
        validated = values["validation_loss"] is not None
        if validated or step == self._steps or time.monotonic() - self._printed_at >= LINE_S:
            self._printed_at = time.monotonic()
            of = f" of {self._steps:,}" if self._steps else ""
            print(f"step {step:,}{of}: {describe_step(values)}", file=sys.stderr, flush=True)


def describe_step(values: StepValues) -> str:
    """Format the losses and the speed of a step."""
    loss = values["validation_loss"]
    validation = "" if loss is None else f"validation {loss:.4f}, "
    return (
        f"loss {values['loss']:.4f}, {validation}{values['samples_per_s']:.1f} samples/s, "
        f"{values['compute_share']:.1%} compute"
    )
