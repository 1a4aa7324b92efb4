"""The page: one HTML file that opens without a network.

Whatever comes from a run is text to the templates, which escape it; the only markup put in as such is drawn here. A
content security policy forbids every script and every request that is not named by it, should one slip through.
"""

from __future__ import annotations

import base64
import hashlib
import math
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from joyvasa.metrics.base import MetricColumn
from pipelines.report.metrics import MetricFigures, Reason
from pipelines.report.model import Report

MAX_BYTES = 5_000_000
SHOWN_CHARACTERS = 400  # of a text of a run
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src 'self' file: https: http:; "
    "base-uri 'none'; form-action 'none'; script-src 'sha256-{}'"
)


def page_bytes(report: Report) -> bytes:
    """The page of a report, below 5 MB: contact sheets are left out as needed, the least important first.

    Args:
        report: what it shows.
    """
    bare = _render(report, [])
    room = MAX_BYTES - len(bare)
    rules: list[Markup] = []
    shown: set[int] = set()
    for place, jpeg in report.sheets.items():
        rule = Markup(".s{}{{background-image:url(data:image/jpeg;base64,{})}}\n").format(
            place, Markup(base64.b64encode(jpeg).decode())
        )
        room -= len(rule)
        if room < 0:
            break
        rules.append(rule)
        shown.add(place)
    return _render(report, rules, shown)


def _render(report: Report, rules: list[Markup], shown: set[int] | None = None) -> bytes:
    script = _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(
        loader=PackageLoader("pipelines.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "share": share, "seconds": seconds, "short": short, "count": count}
    environment.filters["by_reason"] = by_reason
    page = environment.get_template("page.html").render(
        report=report,
        policy=POLICY.format(digest),
        script=Markup(script),
        style=Markup(_asset("page.css")),
        sheet_rules=rules,
        shown=shown or set(),
    )
    return page.encode("utf-8", "replace")


def _asset(name: str) -> str:
    return resources.files("pipelines.report").joinpath("templates", name).read_text(encoding="utf-8")


def by_reason(figures: list[MetricFigures]) -> list[tuple[Reason, list[MetricColumn]]]:
    """Metrics without a number by the reason, as weights that are missing cost several."""
    found: dict[Reason, list[MetricColumn]] = {}
    for one in figures:
        for reason in one.reasons or [Reason("no_videos", 0, "there is nothing to measure")]:
            found.setdefault(reason, []).append(one.column)
    return [*found.items()]


def number(value: float | None) -> str:
    """Four digits that count: `12,346`, `0.9975`, `-0.03000`; a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size >= 7 or size < -4:
        return f"{value:.3e}"
    return f"{value:,.{max(0, 3 - size)}f}"


def count(value: float) -> str:
    """A whole number: `100,000`."""
    return f"{value:,.0f}"


def share(value: float | None) -> str:
    """A part as a percentage that is 100 only for all and 0 only for none."""
    if value is None:
        return "–"
    if 0 < value < 1:
        return f"{min(max(value * 100, 0.1), 99.9):.1f} %"
    return f"{value:.0%}".replace("%", " %")


def seconds(value: float | None) -> str:
    """A length of time in the unit that suits it."""
    if value is None:
        return "–"
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:,.1f} h"


def short(text: Any) -> str:
    """A text of a run, cut to a length that a page can show."""
    plain = str(text)
    return plain if len(plain) <= SHOWN_CHARACTERS else plain[: SHOWN_CHARACTERS - 1] + "…"
