"""The page's second tab: runs below the root."""

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
from pipelines.web.render import asset, heading, render
from pipelines.web.runs_browser import OpenRun, RunsBrowser

TICK_S = 3.0
ALL = ("all", "")
IN_ORDER = ("order of the manifest", "")
GALLERY, TABLE = "Gallery", "Table"
Seen = dict[str, str]  # what the browser shows, by part: hashes


@dataclass(frozen=True)
class RunsPage:
    """What the tab works with.

    Attributes:
        browser: of the runs.
    """

    browser: RunsBrowser

    def build(self, tab: gr.Tab) -> None:
        """Puts the tab's parts into the `gr.Blocks` that is being built."""
        with gr.Row():
            run = gr.Dropdown([], label="Run", scale=6, elem_id="jv-run-choice")
            again = gr.Button("Look again", scale=1, min_width=110, size="sm")
        state = gr.HTML(elem_id="jv-state")
        with gr.Tabs():
            with gr.Tab("Records"):
                with gr.Row():
                    text = gr.Textbox(max_lines=1, label="Id contains", min_width=140, elem_id="jv-text")
                    status = gr.Dropdown(
                        [ALL, *((name, name) for name in STATUSES)], value="", label="Status", min_width=140
                    )
                    code = gr.Dropdown([ALL], value="", label="Error or warning", min_width=140, elem_id="jv-code")
                    sort = gr.Dropdown([IN_ORDER], value="", label="Sorted by", min_width=140, elem_id="jv-sort")
                with gr.Row(equal_height=True):
                    low = gr.Textbox(max_lines=1, label="Value from", min_width=90, elem_id="jv-low")
                    high = gr.Textbox(max_lines=1, label="Value to", min_width=90)
                    descending = gr.Checkbox(False, label="Largest first", min_width=140, elem_id="jv-descending")
                    look = gr.Radio([GALLERY, TABLE], value=GALLERY, label="Show as", elem_id="jv-look", min_width=200)
                records = gr.HTML(js_on_load=asset("page.js"), elem_id="jv-records")
                with gr.Row():
                    back = gr.Button("Previous", size="sm", scale=0, min_width=90, interactive=False, elem_id="jv-back")
                    place = gr.HTML(elem_classes="jv-pages", elem_id="jv-place")
                    forward = gr.Button(
                        "Next", size="sm", scale=0, min_width=90, interactive=False, elem_id="jv-forward"
                    )
            with gr.Tab("Failures", elem_id="jv-failures-tab"):
                failures = gr.HTML(js_on_load=asset("page.js"), elem_id="jv-failures")
            with gr.Tab("Report"):
                report = gr.HTML(js_on_load=asset("page.js"), elem_id="jv-report-view")
        page, seen = gr.State(0), gr.State({})
        timer = gr.Timer(TICK_S, active=False)

        inputs = [run, text, status, code, sort, descending, low, high, look, page, seen]
        outputs = [state, records, failures, report, place, back, forward, page, code, sort, seen]
        quiet: dict[str, Any] = {"preprocess": False, "show_progress": "hidden", "concurrency_limit": None}

        def show(event: Any, step: Any) -> None:
            event(step, inputs, outputs, **quiet)

        tab.select(self._list, [run], [run, timer], **quiet).then(self._tick, inputs, outputs, **quiet)
        again.click(self._list, [run], [run, timer], **quiet).then(self._tick, inputs, outputs, **quiet)
        show(timer.tick, self._tick)
        show(run.input, self._first)
        for one in (text, status, code, sort, descending, low, high, look):
            one.input(self._first, inputs, outputs, trigger_mode="always_last", **quiet)
        show(back.click, self._back)
        show(forward.click, self._forward)
        records.click(self._sort_by, [sort, descending], [sort, descending], **quiet).then(
            self._first, inputs, outputs, **quiet
        )

    def _list(self, chosen: Any) -> tuple[Any, Any]:
        paths = self.browser.paths()
        choices = [("(the root itself)" if path == "." else path, path) for path in paths]
        value = chosen if chosen in paths else next(iter(paths), None)
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
        chosen = event._data.get("sort") if isinstance(event._data, dict) else None
        if not isinstance(chosen, str):
            return gr.skip(), gr.skip()
        return chosen, not descending if chosen == sort else False

    def _show(self, values: tuple[Any, ...], step: int, *, turn: bool = False) -> list[Any]:
        """All parts of the tab that differ from what the browser shows.

        Args:
            values: of the inputs, from anybody.
            step: pages to turn.
            turn: from the page that is shown; else from the first.
        """
        path, *fields, look, page, seen = values
        seen = seen if isinstance(seen, dict) else {}
        query = _query(fields, (page if isinstance(page, int) and turn else 0) + step)
        try:
            if not isinstance(path, str) or not path:
                empty = render("message", kind="quiet", text="There is no run below the root yet.")
                return _parts(seen, {"state": empty})
            run = self.browser.open(path)
            return _parts(seen, self._contents(run, query, table=look == TABLE))
        except JoyvasaError as error:
            return _parts(seen, {"state": render("message", kind="error", text=str(error))})
        except Exception as error:  # a run folder may hold anything
            text = safe_text(f"{type(error).__name__}: {error}", 300)
            sentence = f"run_unreadable: {path}: cannot be shown ({text}): choose another run"
            return _parts(seen, {"state": render("message", kind="error", text=sentence)})

    def _contents(self, run: OpenRun, query: Query, *, table: bool) -> dict[str, Any]:
        browser = self.browser
        records = browser.records(run, query, table=table)
        codes, columns = browser.choices(run)
        return {
            "state": browser.state(run),
            "records": records.html,
            "failures": browser.failures(run),
            "report": browser.report(run),
            "place": records.place,
            "back": gr.update(interactive=not records.first),
            "forward": gr.update(interactive=not records.last),
            "page": records.page,
            "code": gr.update(choices=[ALL, *((code, code) for code in codes)]),
            "sort": gr.update(choices=[IN_ORDER, *((heading(name).capitalize(), name) for name in columns)]),
        }


PARTS = ("state", "records", "failures", "report", "place", "back", "forward", "page", "code", "sort")


def _parts(seen: Seen, contents: dict[str, Any]) -> list[Any]:
    """Values of the outputs; a part that the browser has already is left as it is, so that its video plays on."""
    now = {name: hashlib.sha256(repr(value).encode()).hexdigest() for name, value in contents.items()}
    shown = [contents[name] if name in contents and now[name] != seen.get(name) else gr.skip() for name in PARTS]
    changed = {name: digest for name, digest in now.items() if digest != seen.get(name)}
    return [*shown, {**seen, **changed} if changed else gr.skip()]


def _query(fields: list[Any], page: int) -> Query:
    text, status, code, sort, descending, low, high = fields
    return Query(
        text=_text(text),
        status=_text(status),
        code=_text(code),
        sort=_text(sort),
        descending=descending is True,
        low=_number(low),
        high=_number(high),
        page=page,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    """What a visitor typed as a number; None where it is none."""
    try:
        number = float(_text(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None
