"""The portraits and recordings that come with the package, as buttons."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from manifests.examples import DEMO, FOLDER
from pipelines.web.previewer import inline_picture
from pipelines.web.templating import read_asset, render_template


@dataclass(frozen=True)
class Examples:
    """Buttons that select rows of the bundled manifest."""

    buttons: Any  # component with the buttons
    rows: list[dict[str, str]]  # rows by number of the button

    def connect(self, targets: dict[str, Any]) -> None:
        """Set the components of these columns to the values of the selected row."""

        def select_example(event: gr.EventData) -> Any:
            number = event._data.get("example") if isinstance(event._data, dict) else None
            row = self.rows[number] if isinstance(number, int) and number in range(len(self.rows)) else None
            values = [row[column] if row else gr.skip() for column in targets]
            return values[0] if len(values) == 1 else values

        self.buttons.click(select_example, None, [*targets.values()], show_progress="hidden", concurrency_limit=None)


def add_examples(column: str, label: str, *, pictures: bool = False) -> Examples:
    """Add a button for each file of a column of the bundled manifest.

    Args:
        column: column of the manifest.
        label: label of the buttons.
        pictures: whether the files are pictures, which are shown.
    """
    with DEMO.open(encoding="utf-8", newline="") as file:
        rows = {row[column]: row | {column: str(FOLDER / row[column])} for row in csv.DictReader(file)}
    files = [Path(row[column]) for row in rows.values()]
    examples = [
        {"name": file.stem, "picture": inline_picture(Image.open(file), 128, quality=80) if pictures else ""}
        for file in files
    ]
    html = render_template("examples", label=label, examples=examples)
    return Examples(gr.HTML(html, js_on_load=read_asset("page.js")), list(rows.values()))
