"""Exceptions that end a run before its last record."""

from __future__ import annotations

from joyvasa.errors import JoyvasaError


class RunStopped(JoyvasaError):  # noqa: N818 (the name states what happened)
    """The run cannot continue; finished records stay finished and the run can be resumed."""


class RunInterrupted(RunStopped):
    """The run was ended by a signal: Ctrl-C or SIGTERM."""
