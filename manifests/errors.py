"""The error of this room: a stable code and one sentence."""

from __future__ import annotations


class ManifestError(Exception):
    """A problem with a code for scripts and a sentence for people.

    It has the shape of `joyvasa.errors.JoyvasaError` and is yet a class of its own: imports
    point one way, and this room knows no other one.

    Args:
        code: stable, lower case with underscores, for example `manifest_columns`.
        sentence: names the thing, what was found, what was expected and what to do.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(code, sentence)
        self.code = code
        self.sentence = sentence

    def __str__(self) -> str:
        return f"{self.code}: {self.sentence}"
