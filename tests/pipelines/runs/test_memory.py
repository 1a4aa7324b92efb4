"""A minute of sound needs no more memory than five seconds."""

import subprocess
import sys

import pytest

from tests.media import EXAMPLES, write_tone

ANIMATE = """
import resource, sys
from pathlib import Path
from joyvasa.animator import Animator
from joyvasa.options import AnimationConfig
animation = Animator(AnimationConfig(models="random", paste_back=False)).animate(*sys.argv[1:])
print(animation.n_frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def measure_peak(folder, seconds: int) -> tuple[int, int]:
    """Return the number of frames of the video, and the peak memory of the program in KiB."""
    sound = write_tone(folder / f"{seconds}.wav", seconds=seconds)
    command = [sys.executable, "-c", ANIMATE, EXAMPLES / "portrait.jpg", sound, folder / f"{seconds}.mp4"]
    printed = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout
    n_frames, memory = map(int, printed.split())
    return n_frames, memory


@pytest.mark.slow
def test_a_minute_of_sound_needs_no_more_memory_than_five_seconds(tmp_path):
    short_frames, short_memory = measure_peak(tmp_path, 5)
    long_frames, long_memory = measure_peak(tmp_path, 60)
    print(f"\n5 s: {short_memory >> 10} MiB; 60 s: {long_memory >> 10} MiB")
    assert (short_frames, long_frames) == (125, 1500)
    assert long_memory < short_memory * 1.05
