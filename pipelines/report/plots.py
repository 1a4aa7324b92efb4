"""Plots as SVG elements of the page: a few kB each, whereas plotly.js alone has 4 MB.

Plots contain numbers only, so that no text of a run can be interpreted as markup. Colors are CSS variables, for which
the page defines a light and a dark palette.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from pipelines.report.statistics import Histogram, Summary

# Lengths are in units of the view box; the page scales the plot to its own width.
WIDTH, HEIGHT = 403, 126
LEFT, RIGHT, TOP, BOTTOM = 34, 393, 6, 105  # edges of the plotted area
TICK, FONT = 3, 9  # length of a tick mark, size of labels
DIGIT_WIDTH = 0.56  # width of a digit in units of the size of labels
DOT_RADIUS = 2.7
DOTS_BELOW = 30  # runs with fewer values are shown as dots
DOT_COLUMNS, DOT_STEP, DOT_MARGIN = 60, 0.11, 0.06  # places across, distance of stacked dots, margin of the range
HEADROOM = 1.05  # top of the plotted area in units of the highest bar
RUN_COLORS = [f"var(--run-{number})" for number in range(1, 7)]  # this run and the compared ones
PLAIN_LENGTH = 6  # longer numbers are written with an exponent if that is shorter


@dataclass(frozen=True)
class Plot:
    """A plot."""

    svg: Markup  # SVG element for the page
    outside: int  # number of values of all runs outside of the plotted range


@dataclass(frozen=True)
class _Axis:
    """Positions of numbers along a side of the plotted area."""

    low: float  # number at `start`
    high: float  # number at `end`
    start: float
    end: float

    def place(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def draw_distribution(histogram: Histogram, summary: Summary, others: Sequence[Histogram] = (), *, label: str) -> Plot:
    """Draw the distribution of a metric as bars, with mean, its interval and median; other runs as outlines.

    Args:
        histogram: histogram of this run.
        summary: summary of this run.
        others: histograms of other runs with the same bins; if there are any, all runs are shown as fractions.
        label: description for screen readers.
    """
    heights = [
        counted.counts / (counted.counts.sum() or 1) if others else counted.counts for counted in (histogram, *others)
    ]
    highest = max(float(values.max(initial=0)) for values in heights) or 1.0
    x = _Axis(float(histogram.edges[0]), float(histogram.edges[-1]), LEFT, RIGHT)
    y = _Axis(0.0, highest * HEADROOM, BOTTOM, TOP)

    opacity = "0.5" if others else "1"
    shapes = [f'<path d="{_stairs(heights[0], histogram.edges, x, y)}" fill="{RUN_COLORS[0]}" opacity="{opacity}"/>']
    for color, values in zip(RUN_COLORS[1:], heights[1:], strict=False):
        path = _stairs(values, histogram.edges, x, y)
        shapes.append(f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.6"/>')

    shapes = [*_draw_summary(summary, x, shapes), *_draw_x_axis(x)]
    for value, text in find_ticks(0.0, y.high, 4, whole=not others):
        shapes.append(_line(LEFT - TICK, y.place(value), LEFT, y.place(value)))
        shapes.append(_text(LEFT - 2 * TICK, y.place(value) + FONT / 3, "end", text))
    outside = sum(counted.below + counted.above for counted in (histogram, *others))
    return Plot(_to_element(shapes, label), outside)


def draw_dots(sets: Sequence[np.ndarray], summary: Summary, *, label: str) -> Plot:
    """Draw few values as dots, with mean, its interval and median; each run has a row, this one the lowest.

    Args:
        sets: numbers of this run and of the others; NaN for missing ones.
        summary: summary of this run.
        label: description for screen readers.
    """
    finite = [np.sort(values[np.isfinite(values)]) for values in sets]
    low, high = min(v[0] for v in finite if len(v)), max(v[-1] for v in finite if len(v))
    margin = DOT_MARGIN * (high - low) or abs(low) * 0.05 or 0.5
    x = _Axis(float(low - margin), float(high + margin), LEFT, RIGHT)
    y = _Axis(-0.4, max(1.0, len(sets) - 0.2), BOTTOM, TOP)

    dots = []
    for row, (values, color) in enumerate(zip(finite, RUN_COLORS, strict=False)):
        # Dots that would overlap are stacked.
        columns = np.round((values - low) / (high - low + 2 * margin) * DOT_COLUMNS)
        levels = row + (np.arange(len(values)) - np.searchsorted(columns, columns)) * DOT_STEP
        circles = [
            f'<circle cx="{x.place(value):.1f}" cy="{y.place(level):.1f}" r="{DOT_RADIUS}"/>'
            for value, level in zip(values.tolist(), levels.tolist(), strict=True)
        ]
        dots.append(f'<g fill="{color}" opacity="0.85">{"".join(circles)}</g>')
    return Plot(_to_element([*_draw_summary(summary, x, dots), *_draw_x_axis(x)], label), 0)


def find_ticks(low: float, high: float, max_intervals: int, *, whole: bool = False) -> list[tuple[float, str]]:
    """Choose round numbers of a range, and how to write them.

    Args:
        low: lower end of the range.
        high: upper end of the range.
        max_intervals: maximum number of steps that fit into the range.
        whole: choose whole numbers only.

    Returns:
        Numbers in ascending order with their texts: multiples of 1, 2, 2.5 or 5 times a power of ten.
    """
    smallest = (high - low) / max_intervals
    exponent = math.floor(math.log10(smallest))
    steps = [(factor, exponent + more) for more in (0, 1) for factor in (1, 2, 2.5, 5)]
    if whole:
        steps = [(factor, power) for factor, power in steps if factor * 10.0**power % 1 == 0] or [(1, 0)]
    factor, power = next(((f, p) for f, p in steps if f * 10.0**p >= smallest * (1 - 1e-9)), steps[-1])
    step = factor * 10.0**power

    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    values = [number * step for number in range(first, last + 1)]
    more = int(factor == 2.5)
    plain = [f"{value:,.{max(0, more - power)}f}" for value in values]
    if max(map(len, plain), default=0) <= PLAIN_LENGTH:
        return [*zip(values, plain, strict=True)]

    # The exponent of the largest number is that of all, so that their digits can be compared.
    shared = math.floor(math.log10(max(map(abs, values))) + 1e-9)
    digits = max(0, shared - power + more)
    short = [f"{value / 10.0**shared:.{digits}f}e{shared}" if value else "0" for value in values]
    return [*zip(values, min(plain, short, key=lambda texts: max(map(len, texts))), strict=True)]


def _draw_summary(summary: Summary, x: _Axis, shapes: Sequence[str]) -> list[str]:
    """Return shapes with the interval of the mean behind and mean and median in front, where they are in the range."""
    behind, front = [], []
    if summary.low is not None and summary.high is not None:
        left, right = x.place(max(summary.low, x.low)), x.place(min(summary.high, x.high))
        behind.append(
            f'<rect x="{left:.1f}" y="{TOP}" width="{max(right - left, 0):.1f}" height="{BOTTOM - TOP}" '
            'fill="var(--band)" opacity="0.3"/>'
        )
    for value, style in ((summary.mean, "1.5"), (summary.median, '1.2" stroke-dasharray="2.4 2.4')):
        if value is not None and x.low <= value <= x.high:
            front.append(_line(x.place(value), TOP, x.place(value), BOTTOM, color="mean", width=style))
    return [*behind, *shapes, *front]


def _draw_x_axis(x: _Axis) -> list[str]:
    shapes = [_line(LEFT, BOTTOM, RIGHT, BOTTOM)]
    for value, text in find_ticks(x.low, x.high, 7):
        position, half = x.place(value), len(text) * FONT * DIGIT_WIDTH / 2
        shapes.append(_line(position, BOTTOM, position, BOTTOM + TICK))
        # A label at an end of the axis is moved inward, so that it is not cut off.
        shapes.append(_text(min(max(position, half), WIDTH - half), BOTTOM + TICK + FONT * 1.1, "middle", text))
    return shapes


def _stairs(heights: np.ndarray, edges: np.ndarray, x: _Axis, y: _Axis) -> str:
    """Return the path along the tops of bars, from the axis and back to it."""
    steps = [f"M{x.place(float(edges[0])):.1f} {BOTTOM}"]
    for height, right in zip(heights.tolist(), edges[1:].tolist(), strict=True):
        steps.append(f"V{y.place(height):.1f}H{x.place(right):.1f}")
    return "".join([*steps, f"V{BOTTOM}"])


def _line(x1: float, y1: float, x2: float, y2: float, *, color: str = "faint", width: str = "0.8") -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="var(--{color})" stroke-width="{width}"/>'


def _text(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{FONT}" text-anchor="{anchor}" fill="var(--ink)">{text}</text>'


def _to_element(shapes: Sequence[str], label: str) -> Markup:
    """Return an element of the page that scales and inherits the page's fonts and colors."""
    start = Markup('<svg class="plot" role="img" viewBox="0 0 {} {}" aria-label="{}">')
    return start.format(WIDTH, HEIGHT, label) + Markup("".join(shapes)) + Markup("</svg>")
