"""HTML of the page from templates, which escape all text of visitors and runs."""

from __future__ import annotations

from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from manifests.run.outcome_table import METRIC_COLUMN_PREFIX
from pipelines.report.page import FORMAT_FILTERS

FILES, RESULTS = "/files", "/results"  # URL paths of the files of runs, and of finished videos


def render_template(template: str, **values: Any) -> str:
    """Render a part of the page.

    Args:
        template: name of the template file, without `.html`.
        values: variables of the template.
    """
    return _environment().get_template(f"{template}.html").render(**values)


def read_asset(name: str) -> str:
    """Read a style sheet or script of the page."""
    environment = _environment()
    assert environment.loader, "created with a loader"
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
    environment.filters |= {**FORMAT_FILTERS, "file_url": file_url, "column_heading": column_heading}
    return environment


def file_url(path: str) -> str:
    """Return the URL path of a file below the root."""
    return f"{FILES}/{quote(path)}"


def column_heading(column: str) -> str:
    """Return the display name of a column."""
    return column.removeprefix(METRIC_COLUMN_PREFIX).replace("_", " ")
