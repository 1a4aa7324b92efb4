"""Plots as SVG text for the page, drawn with Matplotlib: a few kB each, whereas plotly.js alone has 4 MB.

Plots contain numbers only, so that no text of a run can be interpreted as markup or as a formula. Colors are CSS
variables, for which the page defines a light and a dark palette.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from pipelines.report.statistics import Histogram, Summary

WIDTH_IN, HEIGHT_IN = 5.6, 1.75
DOTS_BELOW = 30  # runs with fewer values are shown as dots
DOT_COLUMNS, DOT_STEP, DOT_MARGIN = 60, 0.11, 0.06  # places across, distance of stacked dots, margin of the range
# Matplotlib does not accept CSS variables, so that each of these colors stands for one and is replaced afterwards.
COLORS = {"ink": "#010101", "faint": "#020202", "mean": "#030303", "band": "#040404"}
RUN_COLORS = {f"run-{number}": f"#0500{number:02x}" for number in range(1, 7)}  # this run and the compared ones
SETTINGS: Any = {  # Matplotlib checks the names
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "joyvasa",  # the same plot is the same text
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": COLORS["faint"],
    "xtick.color": COLORS["faint"],
    "ytick.color": COLORS["faint"],
    "xtick.labelcolor": COLORS["ink"],
    "ytick.labelcolor": COLORS["ink"],
    "font.size": 9,
    "axes.grid": False,
    "axes.formatter.useoffset": False,
}


@dataclass(frozen=True)
class Plot:
    """A plot."""

    svg: Markup  # SVG element for the page
    outside: int  # number of values of all runs outside of the plotted range


def draw_distribution(histogram: Histogram, summary: Summary, others: Sequence[Histogram] = (), *, label: str) -> Plot:
    """Draw the distribution of a metric as bars, with mean, its interval and median; other runs as outlines.

    Args:
        histogram: histogram of this run.
        summary: summary of this run.
        others: histograms of other runs with the same bins; if there are any, all runs are shown as fractions.
        label: description for screen readers.
    """
    from matplotlib.ticker import MaxNLocator

    with _open_figure(summary) as (figure, axes):
        colors = list(RUN_COLORS.values())
        counts = histogram.counts / (histogram.counts.sum() or 1) if others else histogram.counts
        axes.stairs(counts, histogram.edges, fill=True, color=colors[0], alpha=0.5 if others else 1, clip_on=False)
        for color, other in zip(colors[1:], others, strict=False):
            total = other.counts.sum() or 1
            axes.stairs(other.counts / total, histogram.edges, color=color, linewidth=1.6, clip_on=False)

        axes.set_xlim(histogram.edges[0], histogram.edges[-1])
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(3, integer=not others))
        svg = _save(figure)
    outside = sum(counted.below + counted.above for counted in (histogram, *others))
    return Plot(_to_element(svg, label), outside)


def draw_dots(sets: Sequence[np.ndarray], summary: Summary, *, label: str) -> Plot:
    """Draw few values as dots, with mean, its interval and median; each run has a row, this one the lowest.

    Args:
        sets: numbers of this run and of the others; NaN for missing ones.
        summary: summary of this run.
        label: description for screen readers.
    """
    with _open_figure(summary) as (figure, axes):
        finite = [np.sort(values[np.isfinite(values)]) for values in sets]
        low, high = min(v[0] for v in finite if len(v)), max(v[-1] for v in finite if len(v))
        margin = DOT_MARGIN * (high - low) or abs(low) * 0.05 or 0.5
        for row, (values, color) in enumerate(zip(finite, RUN_COLORS.values(), strict=False)):
            # Dots that would overlap are stacked.
            columns = np.round((values - low) / (high - low + 2 * margin) * DOT_COLUMNS)
            level = np.arange(len(values)) - np.searchsorted(columns, columns)
            axes.scatter(values, row + level * DOT_STEP, s=28, color=color, alpha=0.85, linewidths=0, clip_on=False)
        axes.set_xlim(low - margin, high + margin)
        axes.set_ylim(-0.4, max(1.0, len(sets) - 0.2))
        axes.yaxis.set_visible(False)
        svg = _save(figure)
    return Plot(_to_element(svg, label), 0)


@contextmanager
def _open_figure(summary: Summary) -> Iterator[tuple[Any, Any]]:
    """Yield a figure and its axes, with mean, interval and median drawn."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN))
        axes = figure.add_axes((0.085, 0.17, 0.89, 0.78))
        if summary.low is not None and summary.high is not None:
            axes.axvspan(summary.low, summary.high, color=COLORS["band"], alpha=0.3, linewidth=0, zorder=0)
        if summary.mean is not None:
            axes.axvline(summary.mean, color=COLORS["mean"], linewidth=1.5)
        if summary.median is not None:
            axes.axvline(summary.median, color=COLORS["mean"], linewidth=1.2, linestyle=(0, (2, 2)))
        axes.xaxis.set_major_locator(MaxNLocator(7))
        axes.tick_params(length=3)
        yield figure, axes


def _save(figure: Any) -> str:
    sink = io.StringIO()
    figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return sink.getvalue()


def _to_element(svg: str, label: str) -> Markup:
    """Convert an SVG file to an element of the page that scales and inherits the page's fonts and colors."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.S)
    body = re.sub(r"<style[^>]*>.*?</style>", "", body, flags=re.S)
    body = re.sub(r"<!--.*?-->\s*", "", body, flags=re.S)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r" font-family: [^;\"]*;", "", body)
    body = re.sub(r' transform="rotate\(-0 [^"]*"', "", body)
    body = re.sub(r"\s*\n\s*", " ", body)
    for name, color in {**COLORS, **RUN_COLORS}.items():
        body = body.replace(color, f"var(--{name})")

    view = re.search(r'viewBox="([^"]*)"', body)
    inner = body[body.index(">") + 1 :]
    start = Markup(
        '<svg class="plot" role="img" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{}" aria-label="{}">'
    )
    return start.format(view.group(1) if view else "", label) + Markup(inner)
