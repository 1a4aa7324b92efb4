"""Long recordings and long source videos need no more memory than short ones."""

import subprocess
import sys
from pathlib import Path

import pytest

from joyvasa.motion.file import save_motion
from tests.joyvasa.training.recordings import recording, talking
from tests.media import EXAMPLES, ffmpeg, write_tone
from tests.motions import opening_mouth

ANIMATE = """
import resource, sys
from joyvasa.animator import Animator
from joyvasa.options import AnimationConfig
models, image, sound, motion, out = sys.argv[1:]
animator = Animator(AnimationConfig(models=models, device="cpu", paste_back=image.endswith(".mp4")))
animation = animator.animate(image, sound or None, out, motion=motion or None)
print(animation.n_frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def measure_peak(
    models: str, image: Path, *, sound: Path | str = "", motion: Path | str = "", out: Path
) -> tuple[int, int]:
    """Return the number of frames of the video, and the peak memory of the program in KiB."""
    command = [sys.executable, "-c", ANIMATE, models, image, sound, motion, out]
    printed = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout
    n_frames, memory = map(int, printed.split())
    return n_frames, memory


@pytest.mark.slow
def test_a_minute_of_sound_needs_no_more_memory_than_five_seconds(tmp_path):
    def measure(seconds: int) -> tuple[int, int]:
        sound = write_tone(tmp_path / f"{seconds}.wav", seconds=seconds)
        return measure_peak("random", EXAMPLES / "portrait.jpg", sound=sound, out=tmp_path / "out.mp4")

    short_frames, short_memory = measure(5)
    long_frames, long_memory = measure(60)
    print(f"\n5 s: {short_memory >> 10} MiB; 60 s: {long_memory >> 10} MiB")
    assert (short_frames, long_frames) == (125, 1500)
    assert long_memory < short_memory * 1.05


@pytest.mark.bench
def test_five_minutes_of_a_source_video_need_hardly_more_memory_than_five_seconds(tmp_path):
    loop = recording(tmp_path / "loop.mp4", talking(250))

    def measure(seconds: int) -> tuple[int, int]:
        source, motion = tmp_path / f"{seconds}.mp4", tmp_path / f"{seconds}.safetensors"
        ffmpeg("-stream_loop", -1, "-i", loop, "-t", seconds, "-c", "copy", source)
        save_motion(motion, opening_mouth(25 * seconds))
        return measure_peak("sample", source, motion=motion, out=tmp_path / "out.mp4")

    short_frames, short_memory = measure(5)
    long_frames, long_memory = measure(300)
    print(f"\n5 s: {short_memory >> 10} MiB; 300 s: {long_memory >> 10} MiB")
    assert (short_frames, long_frames) == (125, 7500)
    assert long_memory < short_memory * 1.2
