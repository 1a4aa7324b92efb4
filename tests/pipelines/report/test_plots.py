"""Plots show what was measured, with round numbers at their axes."""

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest

from pipelines.report.plots import BOTTOM, LEFT, RIGHT, TOP, WIDTH, draw_distribution, draw_dots, find_ticks
from pipelines.report.statistics import Summary, compute_histogram, compute_histogram_edges


def summary(values):
    return Summary(
        n=len(values),
        mean=float(values.mean()),
        median=float(np.median(values)),
        low=float(values.mean()) - 0.3,
        high=float(values.mean()) + 0.3,
    )


def elements(plot, tag):
    return list(ET.fromstring(plot.svg).iter(tag))


def positions(element):
    """Return the x and the y coordinates of a path of M, L, H and V."""
    numbers = {"x": [], "y": []}
    for command, arguments in re.findall(r"([MLHV])([-\d. ]+)", element.get("d")):
        values = [float(value) for value in arguments.split()]
        if command in "MLH":
            numbers["x"].append(values[0])
        if command in "MLV":
            numbers["y"].append(values[-1])
    return numbers["x"], numbers["y"]


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (22.5, 36.1, ["24", "26", "28", "30", "32", "34", "36"]),
        (0.061, 0.135, ["0.08", "0.10", "0.12"]),
        (-0.3, 0.31, ["-0.3", "-0.2", "-0.1", "0.0", "0.1", "0.2", "0.3"]),
        (0.0, 12_000.0, ["0", "2,000", "4,000", "6,000", "8,000", "10,000", "12,000"]),
        (0.0, 1.75e6, ["0", "0.25e6", "0.50e6", "0.75e6", "1.00e6", "1.25e6", "1.50e6", "1.75e6"]),
        (0.9e-7, 5.2e-7, ["1e-7", "2e-7", "3e-7", "4e-7", "5e-7"]),
        (25.00001, 25.00009, ["25.00002", "25.00004", "25.00006", "25.00008"]),
    ],
)
def test_ticks_are_round_numbers_with_the_shorter_texts(low, high, texts):
    ticks = find_ticks(low, high, 7)
    assert [text for _, text in ticks] == texts
    values = [value for value, _ in ticks]
    assert values == pytest.approx([float(text.replace(",", "")) for text in texts])


@pytest.mark.parametrize("seed", range(200))
def test_ticks_are_few_evenly_spaced_and_in_the_range(seed):
    random = np.random.default_rng(seed)
    low = random.normal() * 10.0 ** random.integers(-6, 7)
    high = low + random.uniform(0.01, 1) * 10.0 ** random.integers(-3, 7)
    ticks = find_ticks(low, high, 7)
    values = [value for value, _ in ticks]
    assert 2 <= len(values) <= 8
    assert low - 1e-6 * (high - low) <= values[0] < values[-1] <= high + 1e-6 * (high - low)
    np.testing.assert_allclose(np.diff(values), values[1] - values[0], rtol=1e-4)
    assert len({text for _, text in ticks}) == len(ticks)


def test_counts_have_whole_ticks():
    assert [text for _, text in find_ticks(0.0, 2.1, 4, whole=True)] == ["0", "1", "2"]
    assert [text for _, text in find_ticks(0.0, 9.0, 4, whole=True)] == ["0", "5"]
    assert [text for _, text in find_ticks(0.0, 0.5, 4, whole=True)] == ["0"]


def test_bars_are_as_high_as_their_counts():
    values = np.array([1.0, 2.0, 2.0, 3.0, 3.0, 3.0, 3.0, 9.0])
    edges = np.array([0.5, 1.5, 2.5, 3.5])
    plot = draw_distribution(compute_histogram(values, edges), Summary(), label="counts")
    bars = elements(plot, "path")[0]
    xs, ys = positions(bars)
    assert xs == pytest.approx([LEFT, *np.linspace(LEFT, RIGHT, 4)[1:]], abs=0.1)
    heights = BOTTOM - np.array(ys[1:-1])
    np.testing.assert_allclose(heights / heights[0], [1, 2, 4], rtol=0.01)
    assert min(ys) > TOP
    assert plot.outside == 1


def test_runs_are_compared_as_fractions():
    random = np.random.default_rng(0)
    values, few = random.normal(30, 2, 4000), random.normal(30, 2, 400)
    edges = compute_histogram_edges([values, few])
    plot = draw_distribution(
        compute_histogram(values, edges), summary(values), [compute_histogram(few, edges)], label="fractions"
    )
    areas = []
    for path in elements(plot, "path")[:2]:
        ys = np.array(positions(path)[1][1:-1])
        areas.append((BOTTOM - ys).sum())
    assert areas[0] == pytest.approx(areas[1], rel=0.02)


def test_mean_median_and_interval_are_at_their_numbers():
    values = np.array([1.0, 2.0, 6.0])
    plot = draw_dots([values], summary(values), label="few")
    dots = [float(dot.get("cx")) for dot in elements(plot, "circle")]
    unit = (dots[1] - dots[0]) / 1.0
    assert dots[2] - dots[0] == pytest.approx(5 * unit, abs=0.2)
    lines = {
        path.get("stroke-dasharray"): positions(path)[0][0]
        for path in elements(plot, "path")
        if path.get("stroke") == "var(--mean)"
    }
    assert lines[None] == pytest.approx(dots[0] + 2 * unit, abs=0.2)
    assert lines["2.4 2.4"] == pytest.approx(dots[1], abs=0.2)
    (band,) = elements(plot, "rect")
    assert float(band.get("x")) == pytest.approx(dots[0] + 1.7 * unit, abs=0.2)
    assert float(band.get("width")) == pytest.approx(0.6 * unit, abs=0.2)


def test_a_mean_outside_of_the_range_is_not_drawn():
    values = np.array([1.0, 2.0, 3.0])
    plot = draw_distribution(
        compute_histogram(values, np.array([0.5, 1.5, 2.5, 3.5])), Summary(mean=50.0, median=2.0), label="outlier"
    )
    lines = [path for path in elements(plot, "path") if path.get("stroke") == "var(--mean)"]
    assert [line.get("stroke-dasharray") for line in lines] == ["2.4 2.4"]


def test_equal_dots_are_stacked_and_other_runs_have_their_rows():
    plot = draw_dots([np.array([3.0, 3.0, 4.0, np.nan]), np.array([3.5])], Summary(), label="rows")
    places = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in elements(plot, "circle")]
    assert len(set(places)) == 4
    assert places[0][0] == places[1][0]
    assert places[3][1] < min(places[0][1], places[1][1], places[2][1])
    colors = [group.get("fill") for group in elements(plot, "g")]
    assert colors == ["var(--run-1)", "var(--run-2)"]


@pytest.mark.parametrize("value", [3.0, 0.0, -2e-9])
def test_a_single_value_is_in_the_middle(value):
    plot = draw_dots([np.array([value] * 5)], Summary(), label="constant")
    assert {dot.get("cx") for dot in elements(plot, "circle")} == {f"{(LEFT + RIGHT) / 2:.1f}"}


def test_texts_are_inside_and_do_not_overlap():
    for low, spread in ((1.2e6, 3e5), (0.00012, 0.00002), (30.0, 2.0), (-5e-7, 1e-7)):
        values = np.random.default_rng(0).normal(low, spread, 9)
        plot = draw_dots([values], Summary(), label="texts")
        spans = []
        for text in elements(plot, "text"):
            half = len(text.text) * 0.5 * float(text.get("font-size")) / 2
            spans.append((float(text.get("x")) - half, float(text.get("x")) + half))
        assert len(spans) >= 3
        assert 0 <= spans[0][0]
        assert spans[-1][1] <= WIDTH
        assert all(left[1] < right[0] for left, right in pairwise(spans))


def test_labels_are_escaped():
    plot = draw_dots([np.array([1.0, 2.0])], Summary(), label='"><script>')
    assert "<script>" not in plot.svg
    assert ET.fromstring(plot.svg).get("aria-label") == '"><script>'
