"""Exceptions that end a run before its last record, and the signals that raise one: Ctrl-C and SIGTERM."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import FrameType

from joyvasa.errors import JoyvasaError


class RunStopped(JoyvasaError):  # noqa: N818 (the name states what happened)
    """The run cannot continue; finished records stay finished and the run can be resumed."""


class RunInterrupted(RunStopped):
    """The run was ended by a signal: Ctrl-C or SIGTERM."""


class Interrupts:
    """End a run with `RunInterrupted` on the first signal.

    The signal raises `KeyboardInterrupt`, which passes stages that turn every `Exception` into the failure of a record.
    A second Ctrl-C has its usual effect, except in a `defer_ctrl_c` block.
    """

    def __init__(self) -> None:
        self._received: str | None = None

    def check(self) -> None:
        """Raise `RunInterrupted` again if a signal was received; a callback of a library may have swallowed it.

        Raises:
            RunInterrupted: a signal was received.
        """
        if self._received:
            raise RunInterrupted("interrupted", f"the run was ended by {self._received}; `resume` continues it")

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._received = signal.Signals(number).name
        raise KeyboardInterrupt

    @contextlib.contextmanager
    def raise_run_interrupted(self) -> Iterator[None]:
        """Raise `RunInterrupted` for what a signal raises: `KeyboardInterrupt`, or `SystemError` in compiled code."""
        try:
            yield
        except (KeyboardInterrupt, SystemError):
            self.check()
            raise

    def defer_ctrl_c(self) -> AbstractContextManager[None]:
        """Ignore Ctrl-C until the end of the block, which removes what the run would leave behind."""
        return handle_signals(signal.SIG_IGN, signal.SIGINT)

    def handle_signals(self) -> AbstractContextManager[None]:
        """Handle signals until the end of the block."""
        return handle_signals(self._handle, signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def handle_signals(handler: Callable[..., object] | signal.Handlers, *signals: signal.Signals) -> Iterator[None]:
    """Handle signals until the end of the block; does nothing outside of the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
