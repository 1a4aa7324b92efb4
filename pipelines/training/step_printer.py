"""Numbers of training steps as lines of text."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from joyvasa.training.trainer import StepValues

LINE_S = 10.0  # between two lines


class StepPrinter:
    """Print a line at regular times, and one for each validation.

    Args:
        steps: steps of the whole run; None if unknown.
    """

    def __init__(self, steps: int | None) -> None:
        self._steps = steps
        self._printed_at = 0.0

    def __call__(self, step: int, values: StepValues) -> None:
        """Print the numbers of a step if a line is due."""
        validated = values["validation_loss"] is not None
        if validated or step == self._steps or time.monotonic() - self._printed_at >= LINE_S:
            self._printed_at = time.monotonic()
            of = f" of {self._steps:,}" if self._steps else ""
            print(f"step {step:,}{of}: {describe_step(values)}", file=sys.stderr, flush=True)


def describe_step(values: StepValues) -> str:
    """Format losses and speed."""
    validation = values["validation_loss"]
    checked = "" if validation is None else f"validation {validation:.4f}, "
    return (
        f"loss {values['loss']:.4f}, {checked}{values['samples_per_s']:.1f} samples/s, "
        f"{values['compute_share']:.1%} compute"
    )
