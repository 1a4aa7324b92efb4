"""HTML of the page from templates, which escape all text of visitors and runs."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import Environment

from pipelines.report.page import build_environment
from pipelines.web.columns import get_column_title

# URL paths of the files of runs, of the posters of their videos, of their selections, and of finished videos.
FILES, POSTERS, SELECTIONS, RESULTS = "/files", "/posters", "/selections", "/results"


def render_template(template: str, **values: Any) -> str:
    """Render a part of the page.

    Args:
        template: name of the template file, without `.html`.
        values: variables of the template.
    """
    return _environment().get_template(f"{template}.html").render(**values)


def render_stateful(template: str, version: int = 0, **values: Any) -> str:
    """Render a part with checkboxes, sliders or videos.

    Gradio changes the elements of a page in place, which would leave the tick of one record at another one. Elements
    with another name are replaced, so the part gets a name that depends on its content.

    Args:
        template: name of the template file, without `.html`.
        version: number that replaces the part although its content is the same.
        values: variables of the template.
    """
    html = render_template(template, **values)
    name = f"jv-{hashlib.sha256(html.encode()).hexdigest()[:16]}-{version}"
    return f'<{name} class="jv-part">{html}</{name}>'


def read_asset(name: str) -> str:
    """Read a style sheet or script of the page."""
    environment = _environment()
    assert environment.loader, "created with a loader"
    return environment.loader.get_source(environment, name)[0]


@cache
def _environment() -> Environment:
    environment = build_environment("pipelines.web")
    environment.filters |= {"file_url": file_url, "poster_url": poster_url, "column_title": get_column_title}
    return environment


def file_url(path: str) -> str:
    """Return the URL path of a file below the root."""
    return f"{FILES}/{quote(path)}"


def poster_url(path: str) -> str:
    """Return the URL path of the poster of a video below the root."""
    return f"{POSTERS}/{quote(path)}"
