import numpy as np
import pytest

from pipelines.report.statistics import BINS, Bootstrap, Summary, compute_histogram, compute_histogram_edges
from tests.pipelines.report.run_folders import numbers


@pytest.mark.parametrize("n", [30, 1000, 20_000])
def test_the_width_of_an_interval_matches_theory(n):
    values = numbers(n)
    low, high = Bootstrap().compute_interval(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(n), rel=0.15)


def test_intervals_cover_the_true_mean_at_the_nominal_rate():
    bootstrap = Bootstrap()
    intervals = [bootstrap.compute_interval(numbers(60, seed)) for seed in range(400)]
    assert np.mean([low <= 5.0 <= high for low, high in intervals]) == pytest.approx(0.95, abs=0.035)


def test_the_order_of_many_values_does_not_narrow_an_interval():
    values = np.sort(numbers(5000))
    low, high = Bootstrap().compute_interval(values)
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(5000), rel=0.15)


def test_the_same_values_give_the_same_interval():
    values = numbers(5000)
    assert Bootstrap().compute_interval(values) == Bootstrap().compute_interval(values.copy())
    assert Bootstrap(1).compute_interval(values) != Bootstrap().compute_interval(values)


def test_a_summary_ignores_nan():
    summary = Bootstrap().summarize(np.array([1.0, np.nan, 3.0, 8.0]))
    assert (summary.n, summary.mean, summary.median, summary.minimum, summary.maximum) == (3, 4.0, 3.0, 1.0, 8.0)
    assert summary.deviation == pytest.approx(np.std([1, 3, 8], ddof=1))


def test_a_single_value_has_no_interval_and_an_empty_set_has_no_summary():
    assert Bootstrap().summarize(np.array([np.nan])) == Summary()
    summary = Bootstrap().summarize(np.array([2.0]))
    assert (summary.n, summary.mean, summary.low, summary.high, summary.deviation) == (1, 2.0, None, None, None)


def test_a_histogram_counts_every_value_once():
    for values in (numbers(7), numbers(5000), np.array([3.0, 3.0]), np.array([0.0]), np.arange(12.0) % 4):
        edges = compute_histogram_edges([values])
        histogram = compute_histogram(np.append(values, np.nan), edges)
        assert histogram.counts.sum() + histogram.below + histogram.above == len(values)
        assert histogram.below + histogram.above <= len(values) / 400
        assert 1 <= len(histogram.counts) <= BINS


def test_an_outlier_does_not_flatten_the_histogram():
    values = np.append(numbers(5000), 1e9)
    histogram = compute_histogram(values, compute_histogram_edges([values]))
    assert histogram.above >= 1
    assert histogram.edges[-1] < 20


def test_integers_in_a_small_range_get_one_bin_each():
    values = np.array([0.0, 1.0, 1.0, 3.0])
    assert compute_histogram(values, compute_histogram_edges([values])).counts.tolist() == [1, 2, 0, 1]


def test_an_empty_set_has_no_bins():
    assert compute_histogram_edges([np.array([np.nan]), np.zeros(0)]) is None
