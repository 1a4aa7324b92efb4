"""Lengths of picture, sound and recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from joyvasa.media.audio import SAMPLE_RATE, stream_audio
from joyvasa.media.ffmpeg import Clock
from joyvasa.metrics.base import Clip, Measurement, Metric, MetricColumn, NotMeasured, Values


class LengthMetric(Metric):
    """Lengths of the picture, of the sound in the video and of the driving recording."""

    name = "length"
    needs = "the recording, for the second number"
    columns = (
        MetricColumn(
            "picture_minus_sound_s",
            "Picture longer than sound",
            "picture length minus sound length in the file; up to a frame and an audio packet (60 ms) is normal",
            "s",
        ),
        MetricColumn(
            "recording_missing_s",
            "Recording cut off",
            "length of the recording that is missing in the file; negative if the file's sound is longer",
            "s",
        ),
    )

    def start(self, clip: Clip) -> Measurement:
        """Start the measurement of a clip; see `Metric`."""
        return _Length(clip)


class _Length(Measurement):
    def __init__(self, clip: Clip) -> None:
        self._clip, self._n_frames = clip, 0

    def update(self, frames: np.ndarray) -> None:
        self._n_frames += len(frames)

    def finish(self) -> Values:
        clip = self._clip
        values: dict[str, float | NotMeasured] = {}
        sound_s = clip.soundtrack.duration_s if clip.soundtrack else 0.0
        if clip.soundtrack:
            values["picture_minus_sound_s"] = self._n_frames / clip.frames_per_second - sound_s
        else:
            values["picture_minus_sound_s"] = NotMeasured("no_sound", "the video has no sound; expected a sound stream")
        if clip.sound:
            values["recording_missing_s"] = _measure_duration(clip.sound, clip.sound_clock) - sound_s
        else:
            values["recording_missing_s"] = NotMeasured(
                "no_recording", "no recording is known; expected the row's audio"
            )
        return values


def _measure_duration(sound: Path, clock: Clock) -> float:
    return sum(map(len, stream_audio(sound, clock=clock))) / SAMPLE_RATE
