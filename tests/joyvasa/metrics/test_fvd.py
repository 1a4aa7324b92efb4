import numpy as np
import pytest
import torch

from joyvasa.bundles import open_bundle
from joyvasa.errors import ConfigError, InputError, ModelError
from joyvasa.metrics.base import NotMeasured
from joyvasa.metrics.fvd import FvdConfig, FvdMetric, FvdSet, collect_fvd_choices, compute_fvd, preprocess_frames
from joyvasa.metrics.metric_set import explain_exception, measure_clip
from joyvasa.metrics.support.frechet import FeatureMoments, frechet_distance
from tests.joyvasa.metrics.seeded import (
    feed,
    make_silent_clip,
    metric_models,
    read_frames,
    stub_models,
    write_seeded_weights,
)
from tests.media import MEDIA


def samples(n, d=24, seed=0):
    generator = np.random.default_rng(seed)
    mixed = generator.normal(size=(n, d)) @ generator.normal(size=(d, d)) + 1000 * generator.normal(size=d)
    return mixed.astype(np.float32)


def assert_equal_moments(one, other):
    assert one.count == other.count
    np.testing.assert_allclose(one.mean, other.mean, rtol=1e-12)
    np.testing.assert_allclose(one.scatter, other.scatter, rtol=1e-12, atol=1e-12 * np.abs(other.scatter).max())


@pytest.mark.parametrize("seed", range(4))
def test_moments_of_shards_merge_in_any_order(seed):
    features = samples(500)
    generator = np.random.default_rng(seed)
    cuts = np.sort(generator.choice(500, 12, replace=True))  # with empty shards
    shards = [FeatureMoments.from_features(part) for part in np.split(features, cuts)]
    joined = FeatureMoments.empty(24)
    for index in generator.permutation(len(shards)):
        joined.merge(shards[index])
    assert_equal_moments(joined, FeatureMoments.from_features(features))


def test_moments_of_single_samples_merge():
    features = samples(60)
    moments = FeatureMoments.empty(24)
    for row in features:
        moments.add(row[None])
    assert_equal_moments(moments, FeatureMoments.from_features(features))
    values = features.astype(np.float64)
    np.testing.assert_allclose(moments.covariance(1), np.cov(values.T), rtol=1e-9)


def test_merging_does_not_change_the_arguments():
    first, second = FeatureMoments.from_features(samples(5)), FeatureMoments.from_features(samples(7, seed=1))
    joined = FeatureMoments.empty(24)
    joined.merge(first)
    joined.merge(second)
    assert_equal_moments(first, FeatureMoments.from_features(samples(5)))
    assert_equal_moments(second, FeatureMoments.from_features(samples(7, seed=1)))


def test_the_distance_is_symmetric_and_zero_for_equal_sets():
    one, other = FeatureMoments.from_features(samples(100)), FeatureMoments.from_features(samples(80, seed=1))
    assert frechet_distance(one, one, ddof=1) < 1e-6 * np.trace(one.covariance(1))
    forth, back = frechet_distance(one, other, ddof=1), frechet_distance(other, one, ddof=1)
    assert forth == pytest.approx(back, rel=1e-9)
    assert forth > 1


@pytest.mark.parametrize("counts", [(1, 50), (50, 0)])
def test_sets_without_covariance_have_no_distance(counts):
    distance = frechet_distance(*(FeatureMoments.from_features(samples(n)) for n in counts), ddof=0)
    assert isinstance(distance, NotMeasured)
    assert f"{min(counts)} samples" in distance.sentence


def test_moments_are_restored_from_a_file(tmp_path):
    moments = FeatureMoments.from_features(samples(9))
    np.savez(tmp_path / "m.npz", **moments.to_arrays())
    with np.load(tmp_path / "m.npz") as arrays:
        assert_equal_moments(FeatureMoments.from_arrays(arrays, "m.npz"), moments)


@pytest.mark.parametrize(
    "damage",
    [
        {"count": np.float64(9)},
        {"count": np.int64(-1)},
        {"mean": np.zeros(23)},
        {"mean": np.full(24, np.nan)},
        {"scatter": np.zeros((24, 24), np.float32)},
        {"scatter": np.array([[None]])},
    ],
)
def test_a_damaged_file_of_moments_is_rejected(damage):
    with pytest.raises(InputError, match=r"moments_damaged: m\.npz"):
        FeatureMoments.from_arrays(FeatureMoments.from_features(samples(9)).to_arrays() | damage, "m.npz")


def test_a_file_of_moments_without_an_array_is_rejected():
    with pytest.raises(InputError, match="scatter"):
        FeatureMoments.from_arrays({"count": np.int64(1), "mean": np.zeros(3)}, "m.npz")


class FirstPixels:
    """Network whose features are the indices of the frames: the red values of their first pixels."""

    def __init__(self):
        self.batches = []

    def __call__(self, clips):
        self.batches.append(len(clips))
        features = torch.zeros(len(clips), 400)
        features[:, : clips.shape[2]] = (clips[:, 0, :, 0, 0] + 1) / 2 * 255
        return features


@pytest.fixture
def small(monkeypatch):
    """Reduce the input size of the network to that of the frames."""
    monkeypatch.setattr("joyvasa.metrics.fvd.SIDE", 16)


def clips_of(n_frames, frames_per_second=25.0, batch=16, **config):
    """Return the frame indices of each clip of a video, and the batch sizes."""

    class Configured(FvdMetric):
        pass

    Configured.config = FvdConfig(**config)
    network, metric = FirstPixels(), Configured()
    metric.setup(stub_models(network))
    frames = np.broadcast_to(np.arange(n_frames, dtype=np.uint8)[:, None, None, None], (n_frames, 16, 16, 3))
    measurement = feed(metric.start(make_silent_clip(frames, frames_per_second)), frames, batch)
    n_clips = measurement.finish()["fvd_clips"]
    features = measurement.features()["fvd"]
    if len(features):
        assert n_clips == len(features)
    else:
        assert n_clips.code == "too_short"
    assert features.dtype == np.float32
    assert features.shape[1] == 400
    numbers = np.rint(features[:, : Configured.config.clip_frames]).astype(int).tolist()
    return numbers, network.batches


@pytest.mark.parametrize("batch", [1, 7, 200])
@pytest.mark.usefixtures("small")
def test_clips_are_25_consecutive_frames_up_to_the_limit(batch):
    clips, batches = clips_of(130, batch=batch)
    assert clips == [list(range(start, start + 25)) for start in (0, 25, 50, 75)]
    assert batches == [4]


@pytest.mark.usefixtures("small")
def test_an_incomplete_clip_is_dropped():
    assert len(clips_of(99)[0]) == 3
    assert clips_of(24) == ([], [])


@pytest.mark.usefixtures("small")
def test_clips_may_overlap_or_leave_gaps():
    assert [clip[0] for clip in clips_of(60, stride_frames=10)[0]] == [0, 10, 20, 30]
    assert [clip[0] for clip in clips_of(120, stride_frames=40, clips_per_video=9)[0]] == [0, 40, 80]


@pytest.mark.usefixtures("small")
def test_videos_of_another_rate_are_sampled_at_25_fps():
    (fast, *_), _ = clips_of(60, frames_per_second=30.0)
    assert fast == [i * 30 // 25 for i in range(25)]
    (slow, *_), _ = clips_of(25, frames_per_second=12.5)
    assert slow == [i // 2 for i in range(25)]


@pytest.mark.usefixtures("small")
def test_clips_are_batched():
    assert clips_of(250, clips_per_video=9)[1] == [4, 4, 1]


@pytest.mark.slow
def test_streaming_equals_the_whole_clip(monkeypatch):
    network = write_seeded_weights("i3d")
    monkeypatch.setattr(FvdMetric, "config", FvdConfig(clip_frames=9, stride_frames=9, clips_per_video=2))
    metric = FvdMetric()
    metric.setup(metric_models())
    frames, _ = read_frames(MEDIA / "videos/d12.mp4", 20, 256)
    streamed = feed(metric.start(make_silent_clip(frames)), frames, 7).features()["fvd"]
    clips = preprocess_frames(torch.from_numpy(frames[:18]), "short_side").unflatten(0, (2, 9)).transpose(1, 2)
    with torch.inference_mode():
        whole = network(clips).numpy()
    np.testing.assert_allclose(streamed, whole, atol=1e-5 * np.abs(whole).max())
    assert not np.allclose(whole[0], whole[1], rtol=1e-3)


@pytest.mark.usefixtures("small")
def test_features_that_are_not_finite_are_reported():
    metric = FvdMetric()
    metric.setup(stub_models(lambda clips: torch.full((len(clips), 400), float("nan"))))
    frames = np.zeros((25, 16, 16, 3), np.uint8)
    with pytest.raises(ModelError, match="features_not_finite"):
        feed(metric.start(make_silent_clip(frames)), frames).features()
    scores = measure_clip(make_silent_clip(frames), [metric], [frames], explain=explain_exception)
    assert scores.values == {"fvd_clips": None}
    assert scores.reasons["fvd_clips"].code == "features_not_finite"


def test_the_value_is_reported_with_all_choices():
    write_seeded_weights("i3d")
    choices = collect_fvd_choices(open_bundle("metrics"))
    sets = [FvdSet(FeatureMoments.from_features(samples(n, seed=n)), choices) for n in (30, 40)]
    result = compute_fvd(*sets)
    assert result.value > 0
    assert result.choices | {"weights_sha256": ""} == {
        "frames_per_second": 25.0,
        "clip_frames": 25,
        "stride_frames": 25,
        "clips_per_video": 4,
        "resize": "short_side",
        "side": 224,
        "ddof": 1,
        "features": "400 logits of I3D, mean over time",
        "batch_norm_epsilon": 1e-3,
        "weights_sha256": "",
        "real_clips": 30,
        "generated_clips": 40,
    }
    assert len(str(result.choices["weights_sha256"])) == 64


def test_sets_with_different_choices_have_no_distance():
    one, other = (
        FvdSet(FeatureMoments.from_features(samples(30)), {"ddof": 1, "stride_frames": stride}) for stride in (25, 5)
    )
    result = compute_fvd(one, other)
    assert isinstance(result.value, NotMeasured)
    assert result.value.code == "choices_differ"
    assert "stride_frames 5 and 25" in result.value.sentence


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("clip_frames", 8),
        ("stride_frames", 0),
        ("clips_per_video", 0),
        ("resize", "crop"),
        ("ddof", 2),
        ("frames_per_second", 0),
    ],
)
def test_invalid_choices_are_rejected(name, value):
    with pytest.raises(ConfigError, match=f"FvdConfig.{name}"):
        FvdConfig(**{name: value})
