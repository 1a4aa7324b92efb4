"""Ctrl-C and SIGTERM end a run with an exception."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from pipelines.engine.errors import RunInterrupted


class Interrupts:
    """Turns the first signal into `RunInterrupted`, wherever the program is; a second Ctrl-C acts as usual."""

    def __init__(self) -> None:
        self._received: str | None = None

    def check(self) -> None:
        """Raises again what a callback of a library may have swallowed."""
        if self._received:
            raise RunInterrupted("interrupted", f"the run was ended by {self._received}; `resume` goes on from here")

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._received = signal.Signals(number).name
        self.check()

    @contextlib.contextmanager
    def unwrapped(self) -> Iterator[None]:
        """Raises `RunInterrupted` also for a `SystemError`: what compiled code makes of a signal during a call."""
        try:
            yield
        except SystemError:
            self.check()
            raise

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listens until the end of the block. Only a main thread can; elsewhere nothing changes."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
