"""The second tab of the page: runs below the root."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import gradio as gr

from joyvasa.errors import InputError, JoyvasaError
from manifests.expressions import quote_text
from manifests.problems import safe_text
from manifests.run.outcome import STATUSES
from pipelines.runs.selection.options import SelectionOptions
from pipelines.web.columns import get_column_title
from pipelines.web.marks import Marks
from pipelines.web.records import Query
from pipelines.web.runs_browser import OpenedRun, RunsBrowser
from pipelines.web.templating import read_asset, render_template

TICK_S = 3.0
ALL = ("all", "")
IN_ORDER = ("order of the manifest", "")
GALLERY, TABLE = "Gallery", "Table"
OK = "ok"
CONDITION_EXAMPLE = "such as sharpness > 50 and duration_s >= 2"
CONDITION_ERRORS = ("condition_invalid", "column_unknown")
CONTENTS = ("sliders", "selection", "records", "failures", "report", "position")  # parts with contents of a run
PARTS = ("state", *CONTENTS, "back", "forward", "page", "code", "sort")  # in the order of the outputs
RUN = "run"
ShownHashes = dict[str, str]  # hash of each part that the browser shows, by name, and under `RUN` the path of its run


@dataclass(frozen=True)
class Part:
    """A part of the tab."""

    value: Any  # value of the component, or a function that computes it
    key: str = ""  # text that changes when the browser must show the value; empty for the value itself


@dataclass(frozen=True)
class RunsPage:
    """The tab with runs."""

    browser: RunsBrowser  # renders the runs

    def build(self, tab: gr.Tab) -> None:
        """Add the components of the tab to the current `gr.Blocks`."""
        with gr.Row():
            run = gr.Dropdown([], label="Run", scale=6, elem_id="jv-run-choice")
            refresh = gr.Button("Refresh", scale=1, min_width=110, size="sm")
        state = gr.HTML(elem_id="jv-state")
        with gr.Tabs():
            with gr.Tab("Records"):
                with gr.Row():
                    where = gr.Textbox(
                        max_lines=1,
                        label="Condition",
                        placeholder=CONDITION_EXAMPLE,
                        scale=2,
                        min_width=280,
                        elem_id="jv-where",
                    )
                    text = gr.Textbox(max_lines=1, label="Id contains", min_width=140, elem_id="jv-text")
                    status = gr.Dropdown(
                        [ALL, *((name, name) for name in STATUSES)],
                        value=OK,
                        label="Status",
                        min_width=140,
                        elem_id="jv-status-choice",
                    )
                    code = gr.Dropdown([ALL], value="", label="Error or warning", min_width=140, elem_id="jv-code")
                with gr.Accordion("Thresholds", open=False, elem_id="jv-thresholds") as thresholds:
                    sliders = gr.HTML(js_on_load=read_asset("page.js"), elem_id="jv-sliders")
                selection = gr.HTML(js_on_load=read_asset("page.js"), elem_id="jv-selection")
                with gr.Row(equal_height=True):
                    sort = gr.Dropdown([IN_ORDER], value="", label="Sort by", min_width=200, elem_id="jv-sort")
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
        page, marks, shown, opened = gr.State(0), gr.State(Marks()), gr.State({}), gr.State(False)
        timer = gr.Timer(TICK_S, active=False)

        inputs = [run, where, text, status, code, sort, descending, view, opened, page, marks, shown]
        outputs = [state, sliders, selection, records, failures, report, position]
        outputs += [back, forward, page, code, sort, shown]
        quiet: dict[str, Any] = {"preprocess": False, "show_progress": "hidden", "concurrency_limit": None}

        def update_on(event: Any, step: int = 0, *, turn: bool = True, **options: Any) -> None:
            event(lambda *values: self._show(values, step, turn=turn), inputs, outputs, **quiet, **options)

        for event in (tab.select, refresh.click):
            update_on(event(self._list_runs, [run], [run, timer], **quiet).then)
        update_on(timer.tick)
        for event in (run.input, where.submit, where.blur):
            update_on(event, turn=False)
        for field in (text, status, code, sort, descending, view):
            update_on(field.input, turn=False, trigger_mode="always_last")
        update_on(thresholds.expand(lambda: True, None, opened, **quiet).then)
        update_on(back.click, -1)
        update_on(forward.click, 1)

        act: dict[str, Any] = {"inputs": [run, marks, sort, descending, page], "trigger_mode": "multiple", **quiet}
        for part in (records, selection, sliders):
            update_on(part.click(self._act, outputs=[marks, sort, descending, page], **act).then)

    def _list_runs(self, selected: Any) -> tuple[Any, Any]:
        paths = self.browser.list_paths()
        choices = [("(this folder)" if path == "." else path, path) for path in paths]
        value = selected if selected in paths else next(iter(paths), None)
        return gr.update(choices=choices, value=value), gr.update(active=True)

    def _act(
        self, path: Any, marks: Any, sort: Any, descending: Any, page: Any, event: gr.EventData
    ) -> tuple[Any, Any, Any, Any]:
        """Apply a click on a heading, a tick, a slider or a button of the selection."""
        data = event._data if isinstance(event._data, dict) else {}
        marks = _marks_of(path, marks)
        if isinstance(column := data.get("sort"), str):
            return marks, column, not descending if column == sort else False, 0
        return marks.apply(data), gr.skip(), gr.skip(), page if "tick" in data else 0

    def _show(self, values: tuple[Any, ...], step: int, *, turn: bool) -> list[Any]:
        """Return the parts of the tab that differ from what the browser shows.

        Args:
            values: values of the inputs; untrusted.
            step: pages to move by.
            turn: move from the current page; else from the first one.
        """
        path, *fields, sort, descending, view, opened, page, marks, shown = values
        shown = shown if isinstance(shown, dict) else {}
        number = (page if isinstance(page, int) and turn else 0) + step
        try:
            if not isinstance(path, str) or not path:
                empty = render_template("message", kind="quiet", text="There are no runs in this folder yet.")
                return _changed_parts(shown, "", {"state": Part(empty)})
            run, marks = self.browser.open(path), _marks_of(path, marks)
            options = _read_options(fields, marks.list_conditions(run.rows.schema.names))
            query = Query(options, _as_text(sort), descending is True, number)
            parts = self._contents(run, query, marks, table=view == TABLE, opened=opened is True)
            return _changed_parts(shown, path, parts)
        except JoyvasaError as error:
            return _changed_parts(shown, path, {"state": _error(str(error))})
        except Exception as error:  # a run folder may contain anything
            text = safe_text(f"{type(error).__name__}: {error}", 300)
            sentence = f"run_unreadable: {path}: cannot be shown ({text}): choose another run"
            return _changed_parts(shown, path, {"state": _error(sentence)})

    def _contents(self, run: OpenedRun, query: Query, marks: Marks, *, table: bool, opened: bool) -> dict[str, Part]:
        """Return the parts of the tab; if a condition is invalid, the records stay as they are."""
        browser = self.browser
        list_codes, columns = browser.list_choices(run)
        parts = {
            "state": Part(browser.render_state(run)),
            "failures": Part(browser.render_failures(run)),
            "report": Part(browser.render_report(run)),
            "code": Part(gr.update(choices=[ALL, *((code, code) for code in list_codes)])),
            "sort": Part(gr.update(choices=[IN_ORDER, *((get_column_title(name), name) for name in columns)])),
        }
        if opened:  # ranges change while a run is active, but a slider that is being moved must not be replaced
            key = f"{run.path} {marks.reset} {columns}"
            parts["sliders"] = Part(lambda: browser.render_sliders(run, marks), key)
        try:
            records = browser.render_records(run, query, marks, table=table)
        except InputError as error:
            if error.code not in CONDITION_ERRORS:
                raise
            return parts | {"selection": _error(str(error))}
        return parts | {
            "selection": Part(browser.render_selection(run, query.options, records, marks)),
            "records": Part(records.html, records.key),
            "position": Part(records.position),
            "back": Part(gr.update(interactive=not records.first)),
            "forward": Part(gr.update(interactive=not records.last)),
            "page": Part(records.page),
        }


def _changed_parts(shown: ShownHashes, run: str, parts: dict[str, Part]) -> list[Any]:
    """Return the values of the outputs; unchanged parts are skipped, so that their videos keep playing.

    Parts of another run do not stay: if `run` has none in their place, because it cannot be read or the condition does
    not suit it, they become empty.
    """
    if shown.get(RUN) != run:
        shown, parts = {RUN: run}, {**dict.fromkeys(CONTENTS, Part("")), **parts}
    hashes = {name: hashlib.sha256((part.key or repr(part.value)).encode()).hexdigest() for name, part in parts.items()}
    changed = {name: digest for name, digest in hashes.items() if digest != shown.get(name)}
    values = (parts[name].value if name in changed else gr.skip() for name in PARTS)
    return [
        *(value() if callable(value) else value for value in values),
        {**shown, **changed} if changed else gr.skip(),
    ]


def _error(sentence: str) -> Part:
    return Part(render_template("message", kind="error", text=sentence))


def _read_options(fields: list[Any], marked: list[str]) -> SelectionOptions:
    """Return the selection of the fields of the tab, and of the conditions of the marks."""
    where, text, status, code = map(_as_text, fields)
    conditions = [where.strip()] if where.strip() else []
    if text:
        conditions.append(f"contains(record_id, {quote_text(text)})")
    if code:
        conditions.append(f"error_code == {quote_text(code)} or contains(warning_codes, {quote_text(code)})")
    statuses = (status,) if status in STATUSES else STATUSES
    return SelectionOptions(statuses=(*statuses,), where=(*conditions, *marked))


def _marks_of(path: Any, marks: Any) -> Marks:
    """Return the marks of a run; another run has none."""
    return marks if isinstance(marks, Marks) and marks.run == path else Marks(_as_text(path))


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else ""
