"""Correlation of the mouth with the sound, for real human speech."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from joyvasa.metrics.support.sound import read_soundtrack
from joyvasa.sample.measurement.signals import correlation_near_zero
from joyvasa.sample.measurement.table import Bar, Row, mean_row
from joyvasa.sample.measurement.videos import MeasuredVideo

MATCHING, OTHER = Bar("at least", 0.5), Bar("at most", 0.2)


def lip_sync_rows(videos: Sequence[MeasuredVideo]) -> list[Row]:
    """Return means over videos; a mouth that never moves counts as 0."""

    @cache
    def level(sound: Path) -> np.ndarray:
        return read_soundtrack(sound).level

    def correlation(video: MeasuredVideo, sound: Path) -> float:
        return float(np.nan_to_num(correlation_near_zero(video.reading.mouth, level(sound))))

    sounds = sorted({video.sound for video in videos})
    matching = {video.path.stem: correlation(video, video.sound) for video in videos}
    other = {
        f"{video.path.stem} with {sound.stem}": correlation(video, sound)
        for video in videos
        for sound in sounds
        if sound != video.sound
    }

    description = "Opening of the mouth against the level of the sound, human speech, best within two frames of lag 0"
    return [
        mean_row("lip_sync", description, matching, "", MATCHING, inputs="videos", worst=min),
        mean_row(
            "lip_sync_other_sound",
            "The same mouth against the sound of other recordings",
            other,
            "",
            OTHER,
            inputs="pairs",
            worst=max,
        ),
    ]
