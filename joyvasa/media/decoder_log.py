"""Messages of ffmpeg about an audio stream: holes, damage, an early end."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_STREAM = re.compile(r"Stream #0:\d+")
_DURATION = re.compile(r"Duration: (\d+):(\d+):(\d+\.\d+)")
_SILENCE = re.compile(r"adding (\d+) audio samples of silence")
_ERRORS = re.compile(r"\b([1-9]\d*) decode errors")


def parse_duration(text: str) -> float | None:
    """Return the duration in the messages of ffmpeg about a file, seconds; None if its header states none."""
    match = _DURATION.search(text)
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3]) if match else None


@dataclass(frozen=True)
class DecoderLog:
    """Findings of one decode of an audio file."""

    silence_s: float = 0.0  # late start and holes in the timestamps together, seconds
    stated_s: float | None = None  # duration that the header states; None if it states none, or that of several streams
    damaged: bool = False  # whether packets were corrupt or could not be decoded

    @classmethod
    def parse(cls, lines: Iterable[str], rate: int) -> DecoderLog:
        """Read the messages of ffmpeg at the level `verbose`, with the filter of the clock `file` in use.

        `rate` is the number of samples per second of the stream.
        """
        n_silent, n_streams = 0, 0
        stated_s: float | None = None
        damaged = estimated = in_input = False

        for line in lines:
            if "Input #0" in line:
                in_input = True
            elif "Output #0" in line or "Stream mapping" in line or "Binding input" in line:
                in_input = False
            if in_input and _STREAM.search(line):
                n_streams += 1
            elif (duration_s := parse_duration(line)) is not None:
                stated_s = duration_s
            elif match := _SILENCE.search(line):
                n_silent += int(match[1])
            elif "corrupt input packet" in line or "ended prematurely" in line or _ERRORS.search(line):
                damaged = True
            estimated = estimated or "Estimating duration" in line

        return cls(
            silence_s=n_silent / rate,
            stated_s=stated_s if n_streams == 1 and not estimated else None,
            damaged=damaged,
        )
