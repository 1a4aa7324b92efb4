"""The second tab of the page: runs below the root."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import gradio as gr

from joyvasa.errors import JoyvasaError
from manifests.problems import safe_text
from manifests.run.outcome import STATUSES
from pipelines.web.records import Query
from pipelines.web.runs_browser import OpenedRun, RunsBrowser
from pipelines.web.templating import column_heading, read_asset, render_template

TICK_S = 3.0
ALL = ("all", "")
IN_ORDER = ("order of the manifest", "")
GALLERY, TABLE = "Gallery", "Table"
ShownHashes = dict[str, str]  # hash of each part that the browser shows, by name


@dataclass(frozen=True)
class RunsPage:
    """The tab with runs.

    Attributes:
        browser: renders the runs.
    """

    browser: RunsBrowser

    def build(self, tab: gr.Tab) -> None:
        """Add the components of the tab to the current `gr.Blocks`."""
        with gr.Row():
            run = gr.Dropdown([], label="Run", scale=6, elem_id="jv-run-choice")
            refresh = gr.Button("Refresh", scale=1, min_width=110, size="sm")
        state = gr.HTML(elem_id="jv-state")
        with gr.Tabs():
            with gr.Tab("Records"):
                with gr.Row():
                    text = gr.Textbox(max_lines=1, label="Id contains", min_width=140, elem_id="jv-text")
                    status = gr.Dropdown(
                        [ALL, *((name, name) for name in STATUSES)], value="", label="Status", min_width=140
                    )
                    code = gr.Dropdown([ALL], value="", label="Error or warning", min_width=140, elem_id="jv-code")
                    sort = gr.Dropdown([IN_ORDER], value="", label="Sort by", min_width=140, elem_id="jv-sort")
                with gr.Row(equal_height=True):
                    low = gr.Textbox(max_lines=1, label="Value from", min_width=90, elem_id="jv-low")
                    high = gr.Textbox(max_lines=1, label="Value to", min_width=90)
                    descending = gr.Checkbox(False, label="Largest first", min_width=140, elem_id="jv-descending")
                    view = gr.Radio([GALLERY, TABLE], value=GALLERY, label="Show as", elem_id="jv-view", min_width=200)
                records = gr.HTML(js_on_load=read_asset("page.js"), elem_id="jv-records")
                with gr.Row():
                    back = gr.Button("Previous", size="sm", scale=0, min_width=90, interactive=False, elem_id="jv-back")
                    position = gr.HTML(elem_classes="jv-pages", elem_id="jv-position")
                    forward = gr.Button(
                        "Next", size="sm", scale=0, min_width=90, interactive=False, elem_id="jv-forward"
                    )
            with gr.Tab("Failures", elem_id="jv-failures-tab"):
                failures = gr.HTML(js_on_load=read_asset("page.js"), elem_id="jv-failures")
            with gr.Tab("Report"):
                report = gr.HTML(js_on_load=read_asset("page.js"), elem_id="jv-report-view")
        page, shown = gr.State(0), gr.State({})
        timer = gr.Timer(TICK_S, active=False)

        inputs = [run, text, status, code, sort, descending, low, high, view, page, shown]
        outputs = [state, records, failures, report, position, back, forward, page, code, sort, shown]
        quiet: dict[str, Any] = {"preprocess": False, "show_progress": "hidden", "concurrency_limit": None}

        def update_on(event: Any, function: Any) -> None:
            event(function, inputs, outputs, **quiet)

        tab.select(self._list_runs, [run], [run, timer], **quiet).then(self._tick, inputs, outputs, **quiet)
        refresh.click(self._list_runs, [run], [run, timer], **quiet).then(self._tick, inputs, outputs, **quiet)
        update_on(timer.tick, self._tick)
        update_on(run.input, self._first)
        for field in (text, status, code, sort, descending, low, high, view):
            field.input(self._first, inputs, outputs, trigger_mode="always_last", **quiet)
        update_on(back.click, self._back)
        update_on(forward.click, self._forward)
        records.click(self._sort_by, [sort, descending], [sort, descending], **quiet).then(
            self._first, inputs, outputs, **quiet
        )

    def _list_runs(self, selected: Any) -> tuple[Any, Any]:
        paths = self.browser.list_paths()
        choices = [("(this folder)" if path == "." else path, path) for path in paths]
        value = selected if selected in paths else next(iter(paths), None)
        return gr.update(choices=choices, value=value), gr.update(active=True)

    def _first(self, *values: Any) -> list[Any]:
        return self._show(values, 0)

    def _back(self, *values: Any) -> list[Any]:
        return self._show(values, -1, turn=True)

    def _forward(self, *values: Any) -> list[Any]:
        return self._show(values, 1, turn=True)

    def _tick(self, *values: Any) -> list[Any]:
        return self._show(values, 0, turn=True)

    def _sort_by(self, sort: Any, descending: Any, event: gr.EventData) -> tuple[Any, Any]:
        column = event._data.get("sort") if isinstance(event._data, dict) else None
        if not isinstance(column, str):
            return gr.skip(), gr.skip()
        return column, not descending if column == sort else False

    def _show(self, values: tuple[Any, ...], step: int, *, turn: bool = False) -> list[Any]:
        """Return the parts of the tab that differ from what the browser shows.

        Args:
            values: values of the inputs; untrusted.
            step: pages to move by.
            turn: move from the current page; else from the first one.
        """
        path, *fields, view, page, shown = values
        shown = shown if isinstance(shown, dict) else {}
        query = _query(fields, (page if isinstance(page, int) and turn else 0) + step)
        try:
            if not isinstance(path, str) or not path:
                empty = render_template("message", kind="quiet", text="There are no runs in this folder yet.")
                return _changed_parts(shown, {"state": empty})
            run = self.browser.open(path)
            return _changed_parts(shown, self._contents(run, query, table=view == TABLE))
        except JoyvasaError as error:
            return _changed_parts(shown, {"state": render_template("message", kind="error", text=str(error))})
        except Exception as error:  # a run folder may contain anything
            text = safe_text(f"{type(error).__name__}: {error}", 300)
            sentence = f"run_unreadable: {path}: cannot be shown ({text}): choose another run"
            return _changed_parts(shown, {"state": render_template("message", kind="error", text=sentence)})

    def _contents(self, run: OpenedRun, query: Query, *, table: bool) -> dict[str, Any]:
        browser = self.browser
        records = browser.render_records(run, query, table=table)
        list_codes, columns = browser.list_choices(run)
        return {
            "state": browser.render_state(run),
            "records": records.html,
            "failures": browser.render_failures(run),
            "report": browser.render_report(run),
            "position": records.position,
            "back": gr.update(interactive=not records.first),
            "forward": gr.update(interactive=not records.last),
            "page": records.page,
            "code": gr.update(choices=[ALL, *((code, code) for code in list_codes)]),
            "sort": gr.update(choices=[IN_ORDER, *((column_heading(name).capitalize(), name) for name in columns)]),
        }


PARTS = ("state", "records", "failures", "report", "position", "back", "forward", "page", "code", "sort")


def _changed_parts(shown: ShownHashes, contents: dict[str, Any]) -> list[Any]:
    """Return the values of the outputs; unchanged parts are skipped, so that their videos keep playing."""
    hashes = {name: hashlib.sha256(repr(value).encode()).hexdigest() for name, value in contents.items()}
    changed = {name: digest for name, digest in hashes.items() if digest != shown.get(name)}
    values = [contents[name] if name in changed else gr.skip() for name in PARTS]
    return [*values, {**shown, **changed} if changed else gr.skip()]


def _query(fields: list[Any], page: int) -> Query:
    text, status, code, sort, descending, low, high = fields
    return Query(
        text=_as_text(text),
        status=_as_text(status),
        code=_as_text(code),
        sort=_as_text(sort),
        descending=descending is True,
        low=_as_number(low),
        high=_as_number(high),
        page=page,
    )


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _as_number(value: Any) -> float | None:
    """Return what a visitor typed as a number; None if it is not one."""
    try:
        number = float(_as_text(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None
