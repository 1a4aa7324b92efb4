"""Windows, denormalization and whole recordings equal the reference."""

import numpy as np
import pytest
import torch

from joyvasa.motion.sampling import Recording, SamplingConfig, encode_windows, sample_motion
from joyvasa.motion.sequence import MotionTemplate
from joyvasa.motion.smoothing import SmoothingConfig, smooth_motion
from joyvasa.motion.windows import iterate_windows, plan_windows
from joyvasa.networks import build
from joyvasa.networks.motion_sizes import MotionSizes
from tests.golden.reference import FORMS, Section, base_seed, fill
from tests.motions import motion_to_arrays

MOTION, FULL = 1e-5, 1e-3
DURATIONS = ("0.3", "3.8", "3.88", "3.9", "4.0", "4.1", "8.0", "10.0", "23.7")
REFERENCE = SamplingConfig(timing="reference", steps=8, cfg_scale=2.8)


@pytest.fixture(scope="module")
def section():
    return Section("window")


@pytest.fixture(scope="module")
def template(section):
    """Return the template; minimum and maximum are three standard deviations from the mean."""
    values = {name: section.input(f"tpl_{name}") for name in ("mean_exp", "std_exp")}
    for name in ("scale", "t", "pitch", "yaw", "roll"):
        mean, deviation = section.input(f"tpl_mean_{name}"), section.input(f"tpl_std_{name}")
        values |= {f"min_{name}": mean - 3 * deviation, f"max_{name}": mean + 3 * deviation}
    return MotionTemplate.from_arrays(values)


def pad_samples(plan):
    """Count the samples of silence that fill the last window; negative where the end of the padding is cut off."""
    return plan.n_windows * plan.samples_per_window - plan.n_samples - sum(plan.padding_samples)


def pad_frames(plan):
    """Count the frames of the last window that are padded with silence in the end."""
    samples_per_frame = plan.samples_per_window // plan.frames_per_window
    return max(0, -(-pad_samples(plan) // samples_per_frame))


class SeededNetwork:
    """Motion model that returns seeded noise and records its inputs."""

    sizes = MotionSizes()

    def __init__(self):
        self.calls = []

    def encode(self, waveform):
        self.calls.append([waveform.shape[1], waveform.double().sum().item()])
        return torch.zeros(1, 100, 256)

    def sample(self, audio, *, prev_motion, **options):
        self.calls[-1].append(-1.0 if prev_motion is None else prev_motion.double().sum().item())
        generator = torch.Generator().manual_seed(base_seed() + 999_000 + len(self.calls) - 1)
        return torch.randn(1, 100, 73, generator=generator)


class TapeNetwork:
    """Motion model that uses the recorded draws of the reference."""

    def __init__(self, network, tape):
        self.sizes = network.sizes
        self.encode = network.encode
        self.network = network
        self.start, self.tape = tape[0], iter(tape[1:])

    def sample(self, audio, *, noise, generator, steps, **options):
        draws = torch.stack([self.start, *(next(self.tape) for _ in range(steps - 1))])
        return self.network.sample(audio, noise=draws, steps=steps, **options)


def recording(network, waveform, timing="reference"):
    plan = plan_windows(len(waveform), network.sizes, timing=timing)
    features = encode_windows(network, iterate_windows(np.array_split(waveform, 7), plan))
    return Recording(plan, features, torch.Generator().manual_seed(0))


def check_motion(section, prefix, motion, relative):
    arrays = motion_to_arrays(motion)
    for key in ("exp", "scale", "R", "t", "pitch", "yaw", "roll"):
        name = f"{prefix}_{key}"
        shape = section.stored[f"{name}__meta"][1:] if f"{name}__meta" in section.stored else section.stored[name].shape
        section.check(name, arrays[key].reshape(shape), relative)


def test_plans_equal_the_table(section):
    table = section.stored["table"]
    plans = [plan_windows(int(row[0]), timing="reference") for row in table]
    rows = [[plan.n_samples, plan.n_windows, pad_samples(plan), pad_frames(plan), plan.n_frames] for plan in plans]
    np.testing.assert_array_equal(rows, table[:, [0, 2, 3, 4, 5]])


@pytest.mark.parametrize("duration", DURATIONS)
def test_the_network_receives_the_same_windows(section, template, duration):
    network = SeededNetwork()
    waveform = section.input(f"audio_{duration}")
    motion = sample_motion(network, [recording(network, waveform)], template, REFERENCE)[0]

    plan = plan_windows(len(waveform), timing="reference")
    indicator = [100] * (plan.n_windows - 1) + [100 - pad_frames(plan)]
    calls = [[n, total, frames, before] for (n, total, before), frames in zip(network.calls, indicator, strict=True)]
    section.check(f"calls_zero_{duration}", calls, MOTION)
    # Padding with the last sample equals padding with silence, which already ends the recording.
    section.check(f"calls_replicate_{duration}", calls, MOTION)
    if duration in ("0.3", "4.1"):
        check_motion(section, f"motion_{duration}", motion, MOTION)


def test_aligned_timing_is_the_same_motion_two_frames_earlier(section, template):
    def sample(timing):
        network = SeededNetwork()
        return sample_motion(network, [recording(network, section.input("audio_4.1"), timing)], template)[0]

    reference, aligned = sample("reference"), sample("aligned")
    assert len(aligned) == 103  # 4.1 s * 25 = 102.5
    torch.testing.assert_close(aligned.expression, reference.expression[2:105])


@pytest.mark.parametrize("form", FORMS)
def test_a_recording_of_two_windows_matches_from_audio_to_smoothed_motion(section, template, form):
    network = fill(build("motion_generator"), "motion_generator", form)
    taped = TapeNetwork(network, section.tape("noise"))
    motion = sample_motion(taped, [recording(network, section.input("audio_full"))], template, REFERENCE)[0]
    section.check("full_n_frames", len(motion), 0)
    check_motion(section, "full", smooth_motion(motion, SmoothingConfig()), FULL)
