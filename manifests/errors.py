"""The error of this room."""

from __future__ import annotations

from joyvasa.errors import JoyvasaError


class ManifestError(JoyvasaError):
    """A manifest, a plan or a run folder cannot be read or written."""
