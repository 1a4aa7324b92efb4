"""Windows of a clip equal the reference: normalization, repetition of short clips, cuts of audio and motion."""

import pytest
import torch

from joyvasa.motion.sequence import MotionSequence, MotionTemplate
from joyvasa.networks.motion_generator import MotionGeneratorConfig
from joyvasa.training.samples import cut_windows, normalize_motion, repeat_to_length
from tests.golden.reference import Section

TOLERANCE = 1e-5
SIZES = MotionGeneratorConfig(motion_feat_dim=70, n_prev_motions=25)


def template(section):
    """Return the template; minimum and maximum are three deviations from the mean, as in the other sections."""
    arrays = {spec["name"][4:]: section.input(spec["name"]).double() for spec in section.specs if "tpl" in spec["name"]}
    for name in ("scale", "t", "pitch", "yaw", "roll"):
        for bound, sign in (("min", -3), ("max", 3)):
            arrays[f"{bound}_{name}"] = arrays[f"mean_{name}"] + sign * arrays[f"std_{name}"]
    return MotionTemplate.from_arrays(arrays)


@pytest.mark.parametrize("clip", ["long", "short"])
def test_both_windows_of_a_clip_match(clip):
    section = Section("dataset")
    pitch, yaw, roll = section.input(f"{clip}_angles").split(1, dim=1)
    motion = MotionSequence(
        expression=section.input(f"{clip}_exp"),
        scale=section.input(f"{clip}_scale"),
        translation=section.input(f"{clip}_t"),
        pitch=pitch,
        yaw=yaw,
        roll=roll,
    )
    frames = normalize_motion(motion, template(section), 70)
    sound, frames = repeat_to_length(torch.from_numpy(section.input(f"{clip}_audio")), frames, SIZES)
    audio, frames = cut_windows(sound, frames, 0, SIZES)
    section.check(f"{clip}_lens", [len(window) for window in audio], 0)
    for window in range(2):
        section.check(f"{clip}_audio{window}", audio[window], TOLERANCE)
        section.check(f"{clip}_exp{window}", frames[window, :, :63], TOLERANCE)
        section.check(f"{clip}_pose{window}", frames[window, :, 63:], TOLERANCE)


def test_a_frame_is_expression_then_pose():
    section = Section("loss")
    frames = section.input("motion")  # (3, 100, 70)
    template = MotionTemplate(
        expression_mean=torch.zeros(63), expression_std=torch.ones(63), pose_min=torch.zeros(7), pose_max=torch.ones(7)
    )
    clips = [MotionSequence.from_pose(clip[:, :63].unflatten(1, (21, 3)), clip[:, 63:]) for clip in frames]
    section.check("get_motion_coef", torch.stack([normalize_motion(clip, template, 70) for clip in clips]), TOLERANCE)
