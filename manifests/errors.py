"""Errors of manifests and run folders."""

from __future__ import annotations

from joyvasa.errors import JoyvasaError


class ManifestError(JoyvasaError):
    """A manifest, a profile or a run folder cannot be read or written."""
