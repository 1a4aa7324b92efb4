"""Progress of a training run: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from joyvasa.training.trainer import Listener, StepValues

LINE_S = 10.0  # between two lines where there is no terminal


@contextmanager
def training_progress(steps: int | None) -> Iterator[Listener]:
    """Shows a training run on standard error.

    Args:
        steps: of the run; None if that is not known.

    Yields:
        what the trainer tells its numbers to.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(steps)
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console) as bars:
        task = bars.add_task("", total=steps)

        def show(step: int, values: StepValues) -> None:
            bars.update(task, completed=step, description=_described(values))
            if values["validation_loss"] is not None:
                bars.console.print(f"step {step:,}: {_described(values)}", highlight=False)

        yield show


class Lines:
    """A line at regular times, and one for each validation.

    Args:
        steps: of the run; None if that is not known.
    """

    def __init__(self, steps: int | None) -> None:
        self._steps = steps
        self._shown = 0.0

    def __call__(self, step: int, values: StepValues) -> None:
        """Shows the numbers of a step, or not."""
        if time.monotonic() - self._shown >= LINE_S or values["validation_loss"] is not None or step == self._steps:
            self._shown = time.monotonic()
            of = f" of {self._steps:,}" if self._steps else ""
            print(f"step {step:,}{of}: {_described(values)}", file=sys.stderr, flush=True)


def _described(values: StepValues) -> str:
    validation = values["validation_loss"]
    checked = "" if validation is None else f"validation {validation:.4f}, "
    return (
        f"loss {values['loss']:.4f}, {checked}{values['samples_per_s']:.1f} samples/s, "
        f"{values['compute_share']:.1%} compute"
    )
