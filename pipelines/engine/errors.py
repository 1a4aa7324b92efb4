"""Why a run ends before its last record."""

from __future__ import annotations

from joyvasa.errors import JoyvasaError


class RunStopped(JoyvasaError):  # noqa: N818 (it says what happened)
    """The run cannot go on; what is finished stays finished and the run can be resumed."""


class RunInterrupted(RunStopped):
    """Somebody asked the run to end (Ctrl-C, SIGTERM)."""
