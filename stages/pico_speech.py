"""Program that speaks a text with SVOX Pico: `pico_speech.py TEXT_FILE WAV_FILE VOICE`.

It runs as a process of its own, so that a crash of the library fails one record only.
"""

from __future__ import annotations

import sys
import wave
from pathlib import Path

RATE = 16_000  # samples per second, 16 bits each
# Pico reads marks such as <play file="...">, which can name files; a text has none.
_PLAIN = {ord("<"): " ", ord(">"): " ", 0: " "}


def speak(text_file: Path, sound: Path, voice: str) -> None:
    """Write a WAV file with the speech of a UTF-8 file."""
    from py_nanotts import NanoTTS  # pyright: ignore[reportMissingImports] (of the extra `tts`)

    samples = NanoTTS().speak(text_file.read_text(encoding="utf-8").translate(_PLAIN), voice=voice)
    with wave.open(str(sound), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples)


if __name__ == "__main__":
    try:
        speak(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    except (RuntimeError, ValueError) as error:  # of the library
        sys.exit(str(error))
