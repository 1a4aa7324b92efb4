"""How well motion is read back from the videos that it made: `python -m tests.bench.video_motion PORTRAIT...`.

Each portrait is animated with the built-in model by one motion, that of a recording plus turns, nods and tilts of the
head; the motion of the finished video, encoded as H.264, is compared with it. Rotations are compared relative to their
first frame, as another portrait follows them: their product with the portrait's own rotation has other angles.
`--face-mesh` also reads the mouth by the face mesh, which is independent of the built-in model; it needs the packages
of `train-sample`.
"""

from __future__ import annotations

import argparse
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
from joyvasa.sample.measurement.control_reader import ControlReader
from joyvasa.sample.networks.motion_extractor import CompactMotionExtractor, euler_angles
from joyvasa.sample.networks.points import INNER_LOWER_LIP, INNER_UPPER_LIP
from tests.media import EXAMPLES

N_FRAMES = 75
PORTRAITS = ("portrait.jpg", "officer.jpg")
SPEECH = EXAMPLES / "speech.flac"
BY_MESH = "mouth opening by the face mesh"


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
    """Return the compared quantities over time, by name; angles are those since the first frame, in degrees."""
    gap = motion.expression[:, INNER_LOWER_LIP, 1] - motion.expression[:, INNER_UPPER_LIP, 1]
    pitch, yaw, roll = euler_angles(motion.rotation @ motion.rotation[:1].transpose(1, 2))
    return {
        "yaw": yaw[:, 0].numpy(),
        "pitch": pitch[:, 0].numpy(),
        "roll": roll[:, 0].numpy(),
        "mouth opening": gap.numpy(),
    }


def read_mouth_by_mesh(animator: Animator, portrait: Path, video: Path) -> np.ndarray:
    """Return the gap between the lips over time by the face mesh, eye distances; NaN where it finds no face."""
    extractor = animator.models.network("motion_extractor")
    assert isinstance(extractor, CompactMotionExtractor)
    return ControlReader(extractor).read(video, animator.read_picture(portrait), pasted=True).teacher_mouth


def main(portraits: list[Path], *, face_mesh: bool = False) -> None:
    """Print the correlation and the slope of each quantity for each portrait."""
    animator = Animator(load_config(AnimationConfig, settings=["picture.max_side=640", "driving.multiplier=1.0"]))
    motion = build_motion(animator)
    made = read_curves(motion)
    if face_mesh:
        made[BY_MESH] = made["mouth opening"]
    print(f"| portrait | {' | '.join(made)} |\n|{'---|' * (1 + len(made))}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_motion(folder / "motion.safetensors", motion)
        for portrait in portraits:
            video = folder / "video.mp4"
            animator.animate(portrait, None, video, motion=folder / "motion.safetensors")
            read = read_curves(animator.models.read_motion(video).file.motion)
            if face_mesh:
                read[BY_MESH] = read_mouth_by_mesh(animator, portrait, video)
            print(f"| {portrait.stem} | {' | '.join(compare(made[name], read[name]) for name in made)} |", flush=True)


def compare(made: np.ndarray, read: np.ndarray) -> str:
    """Return the correlation and, in brackets, the slope of two signals over the frames that were read."""
    known = np.isfinite(read)
    slope = np.polyfit(made[known], read[known], 1)[0]
    return f"{np.corrcoef(made[known], read[known])[0, 1]:.3f} ({slope:.2f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure how well motion is read back from the videos that it made.")
    parser.add_argument("portraits", nargs="*", type=Path, default=[EXAMPLES / name for name in PORTRAITS])
    parser.add_argument("--face-mesh", action="store_true", help="compare the mouth with that of the face mesh, too")
    arguments = parser.parse_args()
    main(arguments.portraits, face_mesh=arguments.face_mesh)
