import gc
import tracemalloc

import numpy as np
import pytest
import torch

from joyvasa.errors import ConfigError, InputError
from joyvasa.motion import MotionTemplate
from joyvasa.networks import build
from joyvasa.sampler_study import few_step_distance, markdown_table
from joyvasa.sampling import Recording, SamplingConfig, sample_motion
from tests.joyvasa.small_generator import SMALL

LENGTHS = (30_000, 5_000, 61_234, 12_800)  # samples; three, one, five and two windows


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build("motion_generator", **SMALL)


@pytest.fixture(scope="module")
def template():
    arrays = {"mean_exp": np.zeros(63), "std_exp": np.ones(63)}
    for name, size in {"scale": 1, "t": 3, "pitch": 1, "yaw": 1, "roll": 1}.items():
        arrays |= {f"min_{name}": np.zeros(size), f"max_{name}": np.ones(size)}
    return MotionTemplate.from_arrays(arrays)


def recording(seed, n_samples, **options):
    waveform = 0.1 * np.random.default_rng(seed).standard_normal(n_samples, dtype=np.float32)
    return Recording(n_samples, np.array_split(waveform, 3), torch.Generator().manual_seed(seed), **options)


def assert_same(left, right, tolerance=1e-5):
    assert len(left) == len(right)
    torch.testing.assert_close(left.expression, right.expression, rtol=0, atol=tolerance)
    torch.testing.assert_close(left.pose, right.pose, rtol=0, atol=tolerance)


def check_batch_equals_one_by_one(network, template, config, lengths):
    together = sample_motion(network, [recording(*entry) for entry in enumerate(lengths)], template, config)
    for entry in enumerate(lengths):
        (alone,) = sample_motion(network, [recording(*entry)], template, config)
        assert_same(together[entry[0]], alone)


@pytest.mark.parametrize("config", [SamplingConfig(), SamplingConfig(sampler="ddim", steps=3), SamplingConfig(1.0)])
def test_a_batch_of_different_lengths_equals_one_by_one(network, template, config):
    check_batch_equals_one_by_one(network, template, config, LENGTHS)


@pytest.mark.slow
def test_a_batch_equals_one_by_one_at_the_published_size(template):
    torch.manual_seed(0)
    check_batch_equals_one_by_one(build("motion_generator"), template, SamplingConfig(), (130_000, 20_000, 70_000))


def test_order_of_the_batch_does_not_matter(network, template):
    forward = sample_motion(network, [recording(*entry) for entry in enumerate(LENGTHS)], template)
    backward = sample_motion(network, [recording(*entry) for entry in reversed(list(enumerate(LENGTHS)))], template)
    for left, right in zip(forward, reversed(backward), strict=True):
        assert_same(left, right)


def test_results_are_aligned_with_the_sound(network, template):
    motions = sample_motion(network, [recording(*entry) for entry in enumerate(LENGTHS)], template)
    assert [len(motion) for motion in motions] == [-(-n // 640) for n in LENGTHS]
    assert {motion.frames_per_second for motion in motions} == {25}


def test_seed_and_sound_change_the_motion(network, template):
    first, again, other_seed, other_sound = (
        sample_motion(network, [Recording(5000, [sound], torch.Generator().manual_seed(seed))], template)[0]
        for sound, seed in (
            (np.zeros(5000, np.float32), 1),
            (np.zeros(5000, np.float32), 1),
            (np.zeros(5000, np.float32), 2),
            (np.sin(np.arange(5000, dtype=np.float32)), 1),
        )
    )
    assert torch.equal(first.expression, again.expression)
    assert (first.expression - other_seed.expression).abs().max() > 1e-3
    assert (first.expression - other_sound.expression).abs().max() > 1e-3


def test_guidance_of_a_recording_replaces_the_one_of_the_batch(network, template):
    mixed = sample_motion(network, [recording(0, 5000, cfg_scale=1.0), recording(1, 5000)], template)
    (plain,) = sample_motion(network, [recording(0, 5000)], template, SamplingConfig(cfg_scale=1.0))
    (guided,) = sample_motion(network, [recording(0, 5000)], template)
    assert_same(mixed[0], plain)
    assert (plain.expression - guided.expression).abs().max() > 1e-3


def test_later_windows_continue_from_the_one_before(network, template):
    calls = []

    class Watched:
        config = network.config
        audio_features = staticmethod(network.audio_features)

        @staticmethod
        def sample(audio, **options):
            motion = network.sample(audio, **options)
            calls.append((audio, options, motion))
            return motion

    sample_motion(Watched(), [recording(0, 30_000), recording(1, 5000), recording(2, 61_234)], template)
    assert [len(audio) for audio, _, _ in calls] == [3, 2, 2, 1, 1]
    assert calls[0][1]["prev_motion"] is None
    assert calls[0][1]["prev_audio"] is None
    still_there = [[0, 2], [0, 1], [1], [0]]  # of the batch before
    for before, call, kept in zip(calls, calls[1:], still_there, strict=False):
        torch.testing.assert_close(call[1]["prev_motion"], before[2][kept, -4:])
        torch.testing.assert_close(call[1]["prev_audio"], before[0][kept, -4:])
        torch.testing.assert_close(call[1]["noise"], before[1]["noise"][kept])


def test_progress_counts_the_windows_of_all_recordings(network, template):
    seen = []
    sample_motion(
        network,
        [recording(*entry) for entry in enumerate(LENGTHS)],
        template,
        SamplingConfig(sampler="ddim", steps=1),
        on_window=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(4, 11), (7, 11), (9, 11), (10, 11), (11, 11)]


def test_memory_does_not_grow_with_the_recording(network, template):
    def peak(n_blocks):
        blocks = (np.zeros(16_000, np.float32) for _ in range(n_blocks))
        config = SamplingConfig(1.0, sampler="ddim", steps=1)
        gc.collect()
        tracemalloc.start()
        sample_motion(
            network, [Recording(16_000 * n_blocks, blocks, torch.Generator().manual_seed(0))], template, config
        )
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(2)
    assert peak(60) < peak(6) + 64_000 * 4  # numpy's share; one second of sound is 64,000 bytes


def test_errors_of_the_sound_reach_the_caller(network, template):
    with pytest.raises(InputError, match="audio_length_changed"):
        sample_motion(network, [Recording(5000, [np.zeros(10, np.float32)], torch.Generator())], template)


@pytest.mark.parametrize(
    "option",
    [{"sampler": "euler"}, {"steps": 0}, {"flexibility": 2.0}, {"timing": "late"}, {"dynamic_threshold": (2, 1, 3)}],
)
def test_bad_options_are_refused_by_name(option):
    with pytest.raises(ConfigError, match=next(iter(option))):
        SamplingConfig(**option)


def test_study_finds_no_distance_at_all_steps_and_prints_every_row(network):
    distances = few_step_distance(network, torch.zeros(1, 12_800), steps=(2, 6))
    assert distances.few_steps[6] == 0
    assert distances.few_steps[2] > 0
    assert distances.seeds > 0
    assert markdown_table(distances, 6).count("\n") == 5
