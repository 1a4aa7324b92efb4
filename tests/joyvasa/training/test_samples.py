import numpy as np
import pytest
import torch

from joyvasa.errors import ConfigError, InputError
from joyvasa.training.config import SampleConfig
from joyvasa.training.samples import SampleStream, truncate_windows
from tests.joyvasa.training.small import small_config, small_dataset

FIELDS = ("audio", "motion", "end", "step", "noise", "without_audio")


def make_stream(dataset, *, seed=0, shuffle=True, split="train", limit=None, samples=None, **network):
    sizes = small_config(network=network).network
    config = samples or SampleConfig()
    return SampleStream(dataset, split, dataset.load_template(), sizes, config, seed=seed, shuffle=shuffle, limit=limit)


def are_equal(one, other):
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in FIELDS)


def test_a_sample_depends_only_on_seed_and_position(dataset):
    forward = [make_stream(dataset).sample(position) for position in range(12)]
    again = make_stream(dataset)
    assert all(are_equal(again.sample(position), forward[position]) for position in reversed(range(12)))
    assert not are_equal(make_stream(dataset, seed=1).sample(0), forward[0])


def test_a_batch_equals_its_samples(dataset):
    batch, samples = make_stream(dataset).batch(3, 4), make_stream(dataset)
    for number in range(4):
        sample = samples.sample(3 + number)
        assert all(torch.equal(getattr(batch, name)[number], getattr(sample, name)[0]) for name in FIELDS)


def test_every_epoch_sees_every_clip_once_in_another_order(dataset):
    data = make_stream(dataset)
    orders = [data._order(epoch).tolist() for epoch in range(4)]
    assert all(sorted(order) == list(range(5)) for order in orders)
    assert len({tuple(order) for order in orders}) > 1


def test_shapes_and_ranges(dataset):
    batch = make_stream(dataset).batch(0, 64)
    assert batch.audio.shape == (64, 2, 6400)
    assert batch.motion.shape == batch.noise.shape == (64, 2, 10, 70)
    assert (batch.end.min(), batch.end.max()) == (1, 10)
    assert (batch.step.min(), batch.step.max()) == (1, 6)
    assert batch.audio.dtype == batch.motion.dtype == batch.noise.dtype == torch.float32
    assert batch.motion[..., 63:].min() >= 0
    assert batch.motion[..., 63:].max() <= 1 + 1e-5


def test_shares_of_truncation_and_guidance_are_the_configured_ones(dataset):
    batch = make_stream(dataset, samples=SampleConfig(truncation=(0, 1), guidance_dropout=0.5)).batch(0, 300)
    assert (batch.end[:, 0] == 10).all()
    assert (batch.end[:, 1] < 10).all()
    assert 0.4 < batch.without_audio.float().mean() < 0.6


def test_sound_and_motion_are_cut_at_the_same_time(dataset):
    data = make_stream(dataset)
    for position in range(5):
        clip = data.read_clip(int(data._order(0)[position]))
        batch = data.sample(position)
        start = next(
            frame for frame in range(41) if np.array_equal(clip.waveform()[frame * 640 :][:6400], batch.audio[0, 0])
        )
        pitch = (clip.motion.pitch[:, 0].double() - data.template.pose_min[4]) / (
            data.template.pose_max[4] - data.template.pose_min[4]
        )
        assert torch.allclose(batch.motion[0, :, :, 67].flatten().double(), pitch[start : start + 20], atol=1e-6)


def test_numbers_that_the_data_set_does_not_have_are_zero(dataset):
    batch = make_stream(dataset, motion_feat_dim=73).sample(0)
    assert batch.motion.shape[-1] == 73
    assert not batch.motion[..., 70:].any()


def test_short_clips_are_repeated(tmp_path):
    batch = make_stream(small_dataset(tmp_path, train=1, validation=0, n_frames=9), shuffle=False).sample(0)
    frames, sound = batch.motion[0].flatten(0, 1), batch.audio[0].flatten()
    assert torch.equal(frames[:9], frames[9:18])
    assert torch.equal(sound[: 9 * 640], sound[9 * 640 : 18 * 640])


def test_fixed_samples_are_whole_and_the_same_each_time(dataset):
    data = make_stream(dataset, shuffle=False, split="validation")
    batch = data.batch(0, 2)
    assert (batch.end == 10).all()
    assert not batch.without_audio.any()
    assert are_equal(batch, make_stream(dataset, shuffle=False, split="validation").batch(0, 2))


def test_an_empty_split_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"dataset_empty: .*no clip to validate with"):
        make_stream(small_dataset(tmp_path, validation=0), split="validation")


@pytest.mark.parametrize(("name", "value"), [("fps", 20), ("motion_feat_dim", 69)])
def test_sizes_that_do_not_match_the_data_set_are_an_error(dataset, name, value):
    with pytest.raises(ConfigError, match=f"dataset_mismatch: .*network.{name}"):
        make_stream(dataset, **{name: value})


@pytest.mark.parametrize("mode", ["zero", "replicate"])
def test_truncation_ends_sound_and_motion_at_the_same_time(mode):
    audio, motion = torch.rand(2, 40) + 1, torch.rand(2, 4, 3) + 1
    cut_audio, cut_motion = truncate_windows(audio, motion, torch.tensor([1, 4]), mode)
    rest = (0, 0) if mode == "zero" else (audio[0, 9], motion[0, 0])
    assert torch.equal(cut_audio[0, :10], audio[0, :10])
    assert (cut_audio[0, 10:] == rest[0]).all()
    assert (cut_motion[0, 1:] == rest[1]).all()
    assert torch.equal(cut_audio[1], audio[1])
    assert torch.equal(cut_motion[1], motion[1])
