"""How well motion is read back from the videos that it made: `python -m tests.bench.video_motion PORTRAIT...`.

Each portrait is animated with the built-in model by one motion, that of a recording plus turns, nods and tilts of the
head; the motion of the finished video, encoded as H.264, is compared with it.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from joyvasa.animator import Animator
from joyvasa.config import load_config
from joyvasa.media.audio import probe_audio
from joyvasa.motion.file import save_motion
from joyvasa.motion.sequence import MotionSequence
from joyvasa.options import AnimationConfig
from joyvasa.sample.networks.points import INNER_LOWER_LIP, INNER_UPPER_LIP
from tests.media import EXAMPLES

N_FRAMES = 75
PORTRAITS = ("portrait.jpg", "officer.jpg")
SPEECH = EXAMPLES / "speech.flac"


def build_motion(animator: Animator) -> MotionSequence:
    """Return three seconds of motion with turns of 10, nods of 6 and tilts of 6 degrees."""
    recording = animator.prepare_recording(SPEECH, probe_audio(SPEECH), 0)
    motion = animator.sample_motions([recording])[0][:N_FRAMES]
    time_s = torch.arange(N_FRAMES)[:, None] / 25
    return replace(
        motion,
        yaw=motion.yaw + 10 * torch.sin(3 * time_s),
        pitch=motion.pitch + 6 * torch.sin(4 * time_s),
        roll=motion.roll + 6 * torch.sin(5 * time_s + 1),
    )


def read_curves(motion: MotionSequence) -> dict[str, np.ndarray]:
    """Return the compared quantities over time, by name."""
    gap = motion.expression[:, INNER_LOWER_LIP, 1] - motion.expression[:, INNER_UPPER_LIP, 1]
    angles = {name: getattr(motion, name)[:, 0].numpy() for name in ("yaw", "pitch", "roll")}
    return {**angles, "mouth opening": gap.numpy()}


def main(portraits: list[Path]) -> None:
    """Print correlation and slope of each quantity for each portrait."""
    animator = Animator(load_config(AnimationConfig, settings=["picture.max_side=640", "driving.multiplier=1.0"]))
    motion = build_motion(animator)
    print("| portrait | quantity | correlation | slope |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_motion(folder / "motion.safetensors", motion)
        for portrait in portraits:
            video = folder / "video.mp4"
            animator.animate(portrait, None, video, motion=folder / "motion.safetensors")
            read = read_curves(animator.models.read_motion(video).file.motion)
            for quantity, made in read_curves(motion).items():
                correlation = np.corrcoef(made, read[quantity])[0, 1]
                slope = np.polyfit(made, read[quantity], 1)[0]
                print(f"| {portrait.stem} | {quantity} | {correlation:.3f} | {slope:.2f} |", flush=True)


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]] or [EXAMPLES / name for name in PORTRAITS])
