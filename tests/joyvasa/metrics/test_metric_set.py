"""Measurement of a clip by several metrics, and the registry."""

import numpy as np
import pytest

from joyvasa.bundles import open_bundle
from joyvasa.errors import ConfigError, InputError
from joyvasa.metrics import METRIC_NAMES, build_metric, check_availability
from joyvasa.metrics.base import Measurement, Metric, MetricColumn, NotMeasured
from joyvasa.metrics.metric_set import explain_exception, measure_clip
from tests.joyvasa.metrics.clips import make_clip, moving_noise

FRAMES = moving_noise(6)


class Counting(Metric):
    name = "counting"
    columns = (MetricColumn("n", "N", "frames"), MetricColumn("twice", "Twice", "frames, twice"))

    def start(self, clip):
        return Counter()


class Counter(Measurement):
    n = 0

    def update(self, frames):
        np.testing.assert_array_equal(frames, FRAMES[self.n : self.n + len(frames)])  # all frames in order
        self.n += len(frames)

    def finish(self):
        return {"n": self.n, "twice": 2 * self.n}

    def features(self):
        return {"counts": np.full((1, 2), self.n)}


class Failing(Counting):
    """Fails in a given method."""

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


class Fixed(Counting):
    columns = (MetricColumn("value", "", ""),)

    def __init__(self, value):
        self.value = value

    def start(self, clip):
        measurement = Counter()
        measurement.finish = lambda: {} if self.value is None else {"value": self.value}
        return measurement


def batches(size=4):
    return (FRAMES[start : start + size] for start in range(0, len(FRAMES), size))


@pytest.mark.parametrize("where", ["start", "update", "finish", "features"])
def test_a_failing_metric_loses_only_its_own_numbers(where):
    scores = measure_clip(make_clip(FRAMES), [Failing(where), Counting()], batches(), explain=explain_exception)
    assert scores.values == {f"fails_in_{where}": None, "n": 6, "twice": 12}
    assert scores.reasons == {f"fails_in_{where}": NotMeasured("metric_failed", "RuntimeError: no luck")}
    np.testing.assert_array_equal(scores.features["counts"], [[6, 6]])
    assert scores.n_frames == 6


def test_the_code_of_an_error_is_reported():
    failing = Failing("update", InputError("audio_unreadable", "a.wav: broken"))
    reasons = measure_clip(make_clip(FRAMES), [failing], batches(), explain=explain_exception).reasons
    assert reasons == {"fails_in_update": NotMeasured("audio_unreadable", "a.wav: broken")}


@pytest.mark.parametrize(
    ("value", "code"), [(float("nan"), "not_finite"), (float("-inf"), "not_finite"), (None, "metric_failed")]
)
def test_invalid_values_become_reasons(value, code):
    scores = measure_clip(make_clip(FRAMES), [Fixed(value)], batches(), explain=explain_exception)
    assert scores.values == {"value": None}
    assert scores.reasons["value"].code == code


def test_explain_may_abort_the_measurement():
    def stop(error):
        raise error

    with pytest.raises(RuntimeError, match="no luck"):
        measure_clip(make_clip(FRAMES), [Failing("finish")], batches(), explain=stop)


def test_frames_are_not_decoded_if_no_metric_needs_them():
    def frames():
        raise AssertionError("decoded")
        yield

    metrics = [build_metric(name) for name in ("head", "mouth", "blink")]
    assert measure_clip(make_clip(FRAMES), metrics, frames(), explain=explain_exception).n_frames == 0


def test_an_error_of_the_frames_is_raised():
    def frames():
        yield FRAMES
        raise InputError("video_unreadable", "v.mp4: broken")

    with pytest.raises(InputError, match="video_unreadable"):
        measure_clip(make_clip(FRAMES), [Counting()], frames(), explain=explain_exception)


def test_every_metric_can_be_built_and_is_described():
    columns = [column for name in METRIC_NAMES for column in build_metric(name).columns]
    assert [build_metric(name).name for name in METRIC_NAMES] == list(METRIC_NAMES)
    assert len({column.name for column in columns}) == len(columns)
    assert all(column.title and column.measures and column.name.isidentifier() for column in columns)
    assert all(build_metric(name).license for name in METRIC_NAMES if build_metric(name).roles)


def test_an_unknown_metric_is_rejected_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r"metric_unknown.*did you mean sharpness"):
        build_metric("sharpnes")


@pytest.fixture(autouse=True)
def no_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("JOYVASA_MODELS", str(tmp_path))


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_metrics_report_missing_weights(name):
    metric = build_metric(name)
    reason = check_availability(metric, open_bundle("metrics"))
    assert (reason is None) == (not metric.roles)
    if reason:
        assert reason.code == "weights_missing"
        assert reason.sentence.startswith("not available: needs ")


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_commercial_use_requires_commercial_licenses(name):
    metric, bundle = build_metric(name), open_bundle("metrics")
    commercial = all(license.commercial == "yes" for license in bundle.get_licenses(metric.roles).values())
    reason = check_availability(metric, bundle, commercial=True)
    assert (reason is not None and reason.code == "license_forbids") == (not commercial)
