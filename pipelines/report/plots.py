"""Plots as SVG text for the page, drawn with Matplotlib: a few kB each, where plotly.js alone is 4 MB.

Nothing but numbers is written into a plot, so no text of a run can be taken for markup or for a formula. Colours are
names of CSS, by which the page brings its light and its dark ones.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from pipelines.report.statistics import Histogram, Summary

WIDTH_IN, HEIGHT_IN = 5.6, 1.75
# Matplotlib takes no names of CSS, so each stands for one; the last are those of the runs that are compared.
COLOURS = {"ink": "#010101", "faint": "#020202", "mean": "#030303", "band": "#040404"}
RUN_COLOURS = {f"run-{number}": f"#0500{number:02x}" for number in range(1, 7)}
SETTINGS: Any = {  # names are checked by Matplotlib
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "joyvasa",  # the same plot is the same text
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": COLOURS["faint"],
    "xtick.color": COLOURS["faint"],
    "ytick.color": COLOURS["faint"],
    "xtick.labelcolor": COLOURS["ink"],
    "ytick.labelcolor": COLOURS["ink"],
    "font.size": 9,
    "axes.grid": False,
    "axes.formatter.useoffset": False,
}


@dataclass(frozen=True)
class Plot:
    """A drawn plot.

    Args:
        svg: an element for the page.
        outside: numbers of all runs that lie beyond its ends.
    """

    svg: Markup
    outside: int


def distribution_plot(histogram: Histogram, summary: Summary, others: Sequence[Histogram] = (), *, label: str) -> Plot:
    """How the numbers of a metric are spread: bars, mean with its interval, median; other runs as outlines.

    Args:
        histogram: of this run.
        summary: of this run.
        others: of other runs, in the same bins; shown as parts of their own total.
        label: what it shows, for screen readers.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN))
        axes = figure.add_axes((0.085, 0.17, 0.89, 0.78))
        scale = histogram.counts.sum() or 1
        shares = not others
        counts = histogram.counts if shares else histogram.counts / scale
        colours = list(RUN_COLOURS.values())
        axes.stairs(counts, histogram.edges, fill=True, color=colours[0], alpha=1 if shares else 0.5, clip_on=False)
        for colour, other in zip(colours[1:], others, strict=False):
            total = other.counts.sum() or 1
            axes.stairs(other.counts / total, histogram.edges, color=colour, linewidth=1.6, clip_on=False)
        if summary.low is not None and summary.high is not None:
            axes.axvspan(summary.low, summary.high, color=COLOURS["band"], alpha=0.3, linewidth=0, zorder=0)
        if summary.mean is not None:
            axes.axvline(summary.mean, color=COLOURS["mean"], linewidth=1.5)
        if summary.median is not None:
            axes.axvline(summary.median, color=COLOURS["mean"], linewidth=1.2, linestyle=(0, (2, 2)))
        axes.set_xlim(histogram.edges[0], histogram.edges[-1])
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(3, integer=shares))
        axes.xaxis.set_major_locator(MaxNLocator(7))
        axes.tick_params(length=3)
        sink = io.StringIO()
        figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Plot(_inline(sink.getvalue(), label), sum(one.below + one.above for one in (histogram, *others)))


def _inline(svg: str, label: str) -> Markup:
    """An SVG file as an element of the page: scales with its place, takes the page's fonts and colours."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.S)
    body = re.sub(r"<style[^>]*>.*?</style>", "", body, flags=re.S)
    body = re.sub(r"<!--.*?-->\s*", "", body, flags=re.S)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r" font-family: [^;\"]*;", "", body)
    body = re.sub(r' transform="rotate\(-0 [^"]*"', "", body)
    body = re.sub(r"\s*\n\s*", " ", body)
    for name, colour in {**COLOURS, **RUN_COLOURS}.items():
        body = body.replace(colour, f"var(--{name})")
    view = re.search(r'viewBox="([^"]*)"', body)
    inner = body[body.index(">") + 1 :]
    start = Markup(
        '<svg class="plot" role="img" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{}" aria-label="{}">'
    )
    return start.format(view.group(1) if view else "", label) + Markup(inner)
