"""Rows whose text is spoken by a speech synthesizer, and the voices that it has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.types as is_type

from joyvasa.errors import suggest_name
from joyvasa.runtime.arrow_text import decode_text
from manifests.problems import ValueFault

TEXT = "text"  # passed-through column with the words of a recording
VOICE = "voice"  # passed-through column with the voice that speaks them
MAX_SPOKEN_CHARACTERS = 10_000  # ten minutes of speech; a longer text is a book
TEXT_WITHOUT_SOUND = ValueFault(
    "text_without_sound",
    "is empty, and text is not spoken without a speech synthesizer; expected a recording: name one here, or set the "
    "option tts",
)
_VOICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.,+-]{0,63}")  # part of an argument or a file name, never an option or path


@dataclass(frozen=True)
class Voices:
    """The voices of a speech synthesizer."""

    names: tuple[str, ...] | None = ()  # None if any name may exist, empty if the voice cannot be chosen
    default: str | None = None  # voice of rows that name none

    def check(self, voice: str | None) -> None:
        """Check the voice of a row, None if it names none.

        Raises:
            ValueFault: `voice_unknown` or `missing_value`.
        """
        if voice is None:
            if self.names is None and self.default is None:
                sentence = "is empty; expected a voice, as the command of tts has {voice}: name one, or set tts_voice"
                raise ValueFault("missing_value", sentence)
        elif self.names is None:
            if not _VOICE.fullmatch(voice):
                sentence = (
                    "expected the name of a voice: at most 64 letters, digits and . , _ + -, a letter or digit first"
                )
                raise ValueFault("voice_unknown", sentence)
        elif not self.names:
            sentence = "cannot be chosen; expected {voice} in the command of tts: add it there, or rename the column"
            raise ValueFault("voice_unknown", sentence)
        elif voice not in self.names:
            guess = suggest_name(voice, self.names)
            listed = "" if guess.startswith("expected") else f" (voices: {', '.join(self.names)})"
            raise ValueFault("voice_unknown", f"is no voice of the speech synthesizer; {guess}{listed}")


def read_texts(table: pa.Table | None) -> list[str | None] | None:
    """Return the text of each row of a table, None where it is empty; None if there is no such column."""
    return _read_column(table, TEXT)


def read_voices(table: pa.Table | None) -> list[str | None] | None:
    """Return the voice of each row of a table, None where it is empty; None if there is no such column."""
    return _read_column(table, VOICE)


def fill_column(values: Sequence[str | None] | None, rows: int) -> Sequence[str | None]:
    """Return the values of a column; those of a missing one are None."""
    return [None] * rows if values is None else values


def _read_column(table: pa.Table | None, name: str) -> list[str | None] | None:
    if table is None or name not in table.column_names:
        return None
    column = table.column(name)
    if is_type.is_integer(column.type):  # the number of a speaker
        column = column.cast(pa.string())
    if not (is_type.is_string(column.type) or is_type.is_large_string(column.type)):
        return None
    return [text if text and text.strip() else None for text in decode_text(column)]
