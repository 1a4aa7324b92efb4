"""Ten minutes of sound take no more memory than ten seconds."""

import subprocess
import sys

import pytest

from tests.media import EXAMPLES, tone

ANIMATE = """
import resource, sys
from pathlib import Path
from joyvasa.animator import AnimationConfig, Animator
animation = Animator(AnimationConfig(models="random", paste_back=False)).animate(*sys.argv[1:])
own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(animation.n_frames, own, children)
"""


def peaks(folder, seconds: int) -> tuple[int, int, int]:
    """Frames of the video, and the largest memory of the program and of ffmpeg, in KiB."""
    sound = tone(folder / f"{seconds}.wav", seconds=seconds)
    command = [sys.executable, "-c", ANIMATE, EXAMPLES / "portrait.jpg", sound, folder / f"{seconds}.mp4"]
    printed = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout
    n_frames, own, children = map(int, printed.split())
    return n_frames, own, children


@pytest.mark.slow
def test_ten_minutes_of_sound_take_no_more_memory_than_ten_seconds(tmp_path):
    short_frames, short_own, short_ffmpeg = peaks(tmp_path, 10)
    long_frames, long_own, long_ffmpeg = peaks(tmp_path, 600)
    print(f"\n10 s: {short_own >> 10} MiB, ffmpeg {short_ffmpeg >> 10} MiB; ", end="")
    print(f"600 s: {long_own >> 10} MiB, ffmpeg {long_ffmpeg >> 10} MiB")
    assert (short_frames, long_frames) == (250, 15_000)
    assert long_own < short_own * 1.05
    assert long_ffmpeg < short_ffmpeg * 1.2
