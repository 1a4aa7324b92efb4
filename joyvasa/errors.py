"""Errors that users can act on: a stable code and one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass


class JoyvasaError(Exception):
    """Error with a code for scripts and a sentence for people.

    The sentence names the object, what was found, what was expected and what to do:
    `audio_unreadable: clip.mp3: no audio stream (found: video/h264)`. It is one line: names and messages of libraries
    may contain line feeds and terminal control sequences, which are escaped.

    Args:
        code: stable identifier in snake case, for example `audio_unreadable`.
        sentence: sentence without the code.
    """

    def __init__(self, code: str, sentence: str) -> None:
        sentence = escape_unprintable(sentence)
        super().__init__(code, sentence)
        self.code = code
        self.sentence = sentence

    def __str__(self) -> str:
        return f"{self.code}: {self.sentence}"


class InputError(JoyvasaError):
    """The input is bad. Retrying gives the same result."""


class ConfigError(JoyvasaError):
    """An option is unknown, out of range, or in conflict with another option."""


class ModelError(JoyvasaError):
    """A model bundle or weight file is missing, damaged or incompatible."""


class OutputError(JoyvasaError):
    """The result could not be written. Retrying may help."""


class EnvironmentFault(JoyvasaError):  # noqa: N818 (EnvironmentError is a builtin)
    """The machine lacks something: a program, a device, memory."""


def install_command(extra: str) -> str:
    """Return what to run for the packages of an extra, for the end of a sentence."""
    return f"run `make extras` in a checkout, or `pip install 'joyvasa[{extra}]'`"


def escape_unprintable(text: str) -> str:
    r"""Escape control, format and unpaired surrogate characters: `\n`, `\x1b`, `\u202e`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def first_line(error: BaseException | str) -> str:
    """Return the first line of the message of an error, or its type if it has no message."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def suggest_name(name: str, valid_names: Collection[str], *, prefix: str = "") -> str:
    """Suggest the closest existing name, or list all names if none is close."""
    matches = difflib.get_close_matches(name, valid_names, n=1)
    return f"did you mean {prefix}{matches[0]}?" if matches else f"expected one of {', '.join(valid_names)}"


@dataclass(frozen=True)
class InputWarning:
    """A problem of an input that is used all the same."""

    code: str  # stable identifier, for example `several_faces`
    sentence: str  # explanation for the user, without the code; one line, see `JoyvasaError`

    def __post_init__(self) -> None:
        object.__setattr__(self, "sentence", escape_unprintable(self.sentence))
