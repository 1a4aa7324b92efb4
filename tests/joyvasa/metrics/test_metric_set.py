"""One pass for all metrics, and the registry."""

import numpy as np
import pytest

from joyvasa.bundles import open_bundle
from joyvasa.errors import ConfigError, InputError
from joyvasa.metrics import METRIC_NAMES, build_metric, check_availability
from joyvasa.metrics.base import Measurement, Metric, MetricColumn, NotMeasured
from joyvasa.metrics.metric_set import explain_exception, measure_clip
from tests.joyvasa.metrics.clips import clip_of, noise

FRAMES = noise(6)


class Counting(Metric):
    name = "counting"
    columns = (MetricColumn("n", "N", "frames"), MetricColumn("twice", "Twice", "frames, twice"))

    def start(self, clip):
        return Counter()


class Counter(Measurement):
    n = 0

    def update(self, frames):
        np.testing.assert_array_equal(frames, FRAMES[self.n : self.n + len(frames)])  # all of them, in order
        self.n += len(frames)

    def finish(self):
        return {"n": self.n, "twice": 2 * self.n}

    def features(self):
        return {"counts": np.full((1, 2), self.n)}


class Failing(Counting):
    """Fails in the method that it is told."""

    def __init__(self, where, error=None):
        self.where, self.error = where, error or RuntimeError("no luck")
        self.columns = (MetricColumn(f"fails_in_{where}", "", ""),)

    def start(self, clip):
        if self.where == "start":
            raise self.error
        measurement = Counter()

        def fail(*_):
            raise self.error

        setattr(measurement, self.where, fail)
        return measurement


class Giving(Counting):
    columns = (MetricColumn("given", "", ""),)

    def __init__(self, value):
        self.value = value

    def start(self, clip):
        measurement = Counter()
        measurement.finish = lambda: {} if self.value is None else {"given": self.value}
        return measurement


def batches(size=4):
    return (FRAMES[at : at + size] for at in range(0, len(FRAMES), size))


@pytest.mark.parametrize("where", ["start", "update", "finish", "features"])
def test_a_metric_that_fails_costs_its_own_numbers_alone(where):
    scores = measure_clip(clip_of(FRAMES), [Failing(where), Counting()], batches(), explain=explain_exception)
    assert scores.values == {f"fails_in_{where}": None, "n": 6, "twice": 12}
    assert scores.reasons == {f"fails_in_{where}": NotMeasured("metric_failed", "RuntimeError: no luck")}
    np.testing.assert_array_equal(scores.features["counts"], [[6, 6]])
    assert scores.n_frames == 6


def test_an_error_with_a_code_keeps_it():
    failing = Failing("update", InputError("audio_unreadable", "a.wav: broken"))
    reasons = measure_clip(clip_of(FRAMES), [failing], batches(), explain=explain_exception).reasons
    assert reasons == {"fails_in_update": NotMeasured("audio_unreadable", "a.wav: broken")}


@pytest.mark.parametrize(
    ("value", "code"), [(float("nan"), "not_finite"), (float("-inf"), "not_finite"), (None, "metric_failed")]
)
def test_what_is_no_number_becomes_a_reason(value, code):
    scores = measure_clip(clip_of(FRAMES), [Giving(value)], batches(), explain=explain_exception)
    assert scores.values == {"given": None}
    assert scores.reasons["given"].code == code


def test_an_error_that_must_end_the_clip_ends_it():
    def stop(error):
        raise error

    with pytest.raises(RuntimeError, match="no luck"):
        measure_clip(clip_of(FRAMES), [Failing("finish")], batches(), explain=stop)


def test_frames_that_nobody_wants_are_not_decoded():
    def frames():
        raise AssertionError("decoded")
        yield

    metrics = [build_metric(name) for name in ("head", "mouth", "blink")]
    assert measure_clip(clip_of(FRAMES), metrics, frames(), explain=explain_exception).n_frames == 0


def test_an_error_of_the_frames_is_no_metric_s_fault():
    def frames():
        yield FRAMES
        raise InputError("video_unreadable", "v.mp4: broken")

    with pytest.raises(InputError, match="video_unreadable"):
        measure_clip(clip_of(FRAMES), [Counting()], frames(), explain=explain_exception)


def test_every_metric_can_be_built_and_says_what_it_is():
    columns = [column for name in METRIC_NAMES for column in build_metric(name).columns]
    assert [build_metric(name).name for name in METRIC_NAMES] == list(METRIC_NAMES)
    assert len({column.name for column in columns}) == len(columns)
    assert all(column.title and column.measures and column.name.isidentifier() for column in columns)
    assert all(build_metric(name).license for name in METRIC_NAMES if build_metric(name).roles)


def test_an_unknown_metric_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r"metric_unknown.*did you mean sharpness"):
        build_metric("sharpnes")


@pytest.fixture(autouse=True)
def no_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("JOYVASA_MODELS", str(tmp_path))


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_metrics_with_weights_say_what_is_missing(name):
    metric = build_metric(name)
    reason = check_availability(metric, open_bundle("metrics"))
    assert (reason is None) == (not metric.roles)
    if reason:
        assert reason.code == "weights_missing"
        assert reason.sentence.startswith("not available: needs ")


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_only_weights_that_may_be_used_commercially_count_where_that_is_asked_for(name):
    metric, bundle = build_metric(name), open_bundle("metrics")
    free = all(license.commercial == "yes" for license in bundle.licenses(metric.roles).values())
    reason = check_availability(metric, bundle, commercial=True)
    assert (reason is not None and reason.code == "license_forbids") == (not free)
