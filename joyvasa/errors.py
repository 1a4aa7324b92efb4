"""Errors that a user can act on: a stable code and one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Collection


class JoyvasaError(Exception):
    """A problem with a code for scripts and a sentence for people.

    The sentence names the thing, what was found, what was expected and what to do:
    `audio_unreadable: clip.mp3: no audio stream (found: video/h264)`.

    Args:
        code: stable, lower case with underscores, for example `audio_unreadable`.
        sentence: one sentence, without the code.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(code, sentence)
        self.code = code
        self.sentence = sentence

    def __str__(self) -> str:
        return f"{self.code}: {self.sentence}"


class InputError(JoyvasaError):
    """The input is bad. Final: trying again gives the same result."""


class ConfigError(JoyvasaError):
    """An option is unknown, out of range, or contradicts another one."""


class ModelError(JoyvasaError):
    """A model bundle or weight file is missing, damaged, or does not fit."""


class OutputError(JoyvasaError):
    """The result could not be written. Trying again may help."""


class EnvironmentFault(JoyvasaError):  # noqa: N818 (EnvironmentError is a builtin)
    """The machine lacks something: a program, a device, memory."""


def suggest_name(name: str, known: Collection[str], *, prefix: str = "") -> str:
    """Return what an error about an unknown name suggests: the name that is meant, or else all names.

    Args:
        name: the unknown name.
        known: names that exist.
        prefix: path before a name that is meant.
    """
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {prefix}{near[0]}?" if near else f"expected one of {', '.join(known)}"
