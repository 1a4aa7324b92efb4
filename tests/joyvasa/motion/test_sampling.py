import gc
import tracemalloc

import numpy as np
import pytest
import torch

from joyvasa.errors import ConfigError, InputError
from joyvasa.motion.sampling import Recording, SamplingConfig, encode_windows, sample_motion
from joyvasa.motion.sequence import MotionTemplate
from joyvasa.motion.windows import iterate_windows, plan_windows
from joyvasa.networks import build
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


def encode_blocks(network, n_samples, blocks, seed=0, *, windows_per_call=1, **options):
    plan = plan_windows(n_samples, network.sizes)
    features = encode_windows(network, iterate_windows(blocks, plan), windows_per_call=windows_per_call)
    return Recording(plan, features, torch.Generator().manual_seed(seed), **options)


def recording(network, seed, n_samples, **options):
    waveform = 0.1 * np.random.default_rng(seed).standard_normal(n_samples, dtype=np.float32)
    return encode_blocks(network, n_samples, np.array_split(waveform, 3), seed, **options)


def assert_same(left, right, tolerance=1e-5):
    assert len(left) == len(right)
    torch.testing.assert_close(left.expression, right.expression, rtol=0, atol=tolerance)
    torch.testing.assert_close(left.pose, right.pose, rtol=0, atol=tolerance)


def check_batch_equals_one_by_one(network, template, config, lengths):
    together = sample_motion(network, [recording(network, *entry) for entry in enumerate(lengths)], template, config)
    for entry in enumerate(lengths):
        (alone,) = sample_motion(network, [recording(network, *entry)], template, config)
        assert_same(together[entry[0]], alone)


@pytest.mark.parametrize("config", [SamplingConfig(), SamplingConfig(sampler="ddim", steps=3), SamplingConfig(1.0)])
def test_a_batch_of_different_lengths_equals_one_by_one(network, template, config):
    check_batch_equals_one_by_one(network, template, config, LENGTHS)


@pytest.mark.slow
def test_a_batch_equals_one_by_one_at_the_published_size(template):
    torch.manual_seed(0)
    check_batch_equals_one_by_one(build("motion_generator"), template, SamplingConfig(), (130_000, 20_000, 70_000))


def test_order_of_the_batch_does_not_matter(network, template):
    forward = sample_motion(network, [recording(network, *entry) for entry in enumerate(LENGTHS)], template)
    backward = sample_motion(
        network, [recording(network, *entry) for entry in reversed(list(enumerate(LENGTHS)))], template
    )
    for left, right in zip(forward, reversed(backward), strict=True):
        assert_same(left, right)


def test_results_are_aligned_with_the_sound(network, template):
    motions = sample_motion(network, [recording(network, *entry) for entry in enumerate(LENGTHS)], template)
    assert [len(motion) for motion in motions] == [-(-n // 640) for n in LENGTHS]
    assert {motion.frames_per_second for motion in motions} == {25}


def test_seed_and_sound_change_the_motion(network, template):
    first, again, other_seed, other_sound = (
        sample_motion(network, [encode_blocks(network, 5000, [sound], seed)], template)[0]
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


def test_guidance_of_a_recording_overrides_the_configuration(network, template):
    mixed = sample_motion(network, [recording(network, 0, 5000, cfg_scale=1.0), recording(network, 1, 5000)], template)
    (plain,) = sample_motion(network, [recording(network, 0, 5000)], template, SamplingConfig(cfg_scale=1.0))
    (guided,) = sample_motion(network, [recording(network, 0, 5000)], template)
    assert_same(mixed[0], plain)
    assert (plain.expression - guided.expression).abs().max() > 1e-3


def test_later_windows_continue_the_previous_one(network, template):
    calls = []

    class RecordingModel:
        sizes = network.sizes

        @staticmethod
        def sample(audio, **options):
            motion = network.sample(audio, **options)
            calls.append((audio, options, motion))
            return motion

    sample_motion(
        RecordingModel(),
        [recording(network, 0, 30_000), recording(network, 1, 5000), recording(network, 2, 61_234)],
        template,
    )
    assert [len(audio) for audio, _, _ in calls] == [3, 2, 2, 1, 1]
    assert calls[0][1]["prev_motion"] is None
    assert calls[0][1]["prev_audio"] is None
    remaining = [[0, 2], [0, 1], [1], [0]]  # rows of the previous batch
    for before, call, rows in zip(calls, calls[1:], remaining, strict=False):
        torch.testing.assert_close(call[1]["prev_motion"], before[2][rows, -4:])
        torch.testing.assert_close(call[1]["prev_audio"], before[0][rows, -4:])
        torch.testing.assert_close(call[1]["noise"], before[1]["noise"][rows])


def test_progress_counts_the_windows_of_all_recordings(network, template):
    calls = []
    sample_motion(
        network,
        [recording(network, *entry) for entry in enumerate(LENGTHS)],
        template,
        SamplingConfig(sampler="ddim", steps=1),
        on_window=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(4, 11), (7, 11), (9, 11), (10, 11), (11, 11)]


def test_memory_does_not_grow_with_the_recording(network, template):
    def peak(n_blocks):
        blocks = (np.zeros(16_000, np.float32) for _ in range(n_blocks))
        config = SamplingConfig(1.0, sampler="ddim", steps=1)
        gc.collect()
        tracemalloc.start()
        sample_motion(network, [encode_blocks(network, 16_000 * n_blocks, blocks)], template, config)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak_bytes

    peak(2)
    assert peak(60) < peak(6) + 64_000 * 4  # numpy's share; one second of sound is 64,000 bytes


@pytest.mark.parametrize("windows_per_call", [2, 3, 8])
def test_batches_of_windows_give_the_same_features_and_motion(network, template, windows_per_call):
    waveform = 0.1 * np.random.default_rng(0).standard_normal(61_234, dtype=np.float32)
    plan = plan_windows(len(waveform), network.sizes)
    alone = list(encode_windows(network, iterate_windows([waveform], plan)))
    together = list(encode_windows(network, iterate_windows([waveform], plan), windows_per_call=windows_per_call))
    assert len(alone) == len(together) == plan.n_windows
    torch.testing.assert_close(torch.stack(together), torch.stack(alone), rtol=0, atol=1e-5)
    (single,) = sample_motion(network, [recording(network, 0, 61_234)], template)
    (many,) = sample_motion(network, [recording(network, 0, 61_234, windows_per_call=windows_per_call)], template)
    assert_same(single, many)


def test_only_the_windows_of_a_batch_are_read(network):
    n_read = 0

    def blocks():
        nonlocal n_read
        for _ in range(100):
            n_read += 1
            yield np.zeros(network.config.n_motions * 640, np.float32)

    plan = plan_windows(100 * network.config.n_motions * 640, network.sizes)
    next(encode_windows(network, iterate_windows(blocks(), plan), windows_per_call=3))
    assert n_read <= 4


def test_encoded_sound_can_be_reused(network, template):
    plan = plan_windows(30_000, network.sizes)
    waveform = 0.1 * np.random.default_rng(0).standard_normal(30_000, dtype=np.float32)
    features = list(encode_windows(network, iterate_windows([waveform], plan)))
    shared = [Recording(plan, features, torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    first, second = sample_motion(network, shared, template)
    assert_same(first, sample_motion(network, [recording(network, 0, 30_000)], template)[0])
    assert (first.expression - second.expression).abs().max() > 1e-3


def test_errors_of_the_sound_are_raised(network, template):
    with pytest.raises(InputError, match="audio_length_changed"):
        sample_motion(network, [encode_blocks(network, 5000, [np.zeros(10, np.float32)])], template)


@pytest.mark.parametrize(
    "option",
    [{"sampler": "euler"}, {"steps": 0}, {"flexibility": 2.0}, {"timing": "late"}, {"dynamic_threshold": (2, 1, 3)}],
)
def test_invalid_options_are_rejected_by_name(option):
    with pytest.raises(ConfigError, match=next(iter(option))):
        SamplingConfig(**option)
