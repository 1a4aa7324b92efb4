"""What the page says, as HTML. Whatever comes from a visitor or a run is text to the templates, which escape it."""

from __future__ import annotations

from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from manifests.run.outcome_table import METRIC
from pipelines.report.page import count, number, seconds, share, short

FILES, RESULTS = "/files", "/results"  # where videos are served


def render(template: str, **values: Any) -> str:
    """A part of the page.

    Args:
        template: name of its file, without `.html`.
        values: that it shows.
    """
    return _environment().get_template(f"{template}.html").render(**values)


def asset(name: str) -> str:
    """A style sheet or script of the page."""
    environment = _environment()
    assert environment.loader, "made with one"
    return environment.loader.get_source(environment, name)[0]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipelines.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "share": share, "seconds": seconds, "short": short, "count": count}
    environment.filters |= {"address": address, "heading": heading}
    return environment


def address(path: str) -> str:
    """Where a file below the root is served."""
    return f"{FILES}/{quote(path)}"


def heading(column: str) -> str:
    """The name of a column for people."""
    return column.removeprefix(METRIC).replace("_", " ")
