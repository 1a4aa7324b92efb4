"""Bounds and ticks from a browser become conditions; other values change nothing."""

from dataclasses import replace

import pyarrow as pa
import pytest

from manifests.expressions import NamedColumns, parse_condition, quote_column, quote_text
from pipelines.web.marks import Marks

ODD = "a\"b\\c\n'`é"


def test_bounds_and_ticks_become_conditions():
    marks = Marks("run").apply(
        {"bounds": {"metric_sync_c": [3, None], "duration_s": [1.5, 4.0], "odd name": [None, 2]}}
    )
    bounds = ["duration_s >= 1.5", "duration_s <= 4.0", "`odd name` <= 2"]
    assert marks.list_conditions([]) == ["sync_c >= 3", *bounds]
    assert marks.list_conditions(["sync_c", "duration_s"]) == ["metric_sync_c >= 3", *bounds]  # the manifest's `sync_c`
    marks = Marks("run").apply({"tick": "a", "on": True}).apply({"tick": ODD, "on": True}).apply({"use": "only"})
    assert marks.list_conditions([]) == [f"record_id in [{quote_text('a')}, {quote_text(ODD)}]"]
    assert marks.apply({"use": "without"}).list_conditions([])[0].startswith("record_id not in [")
    assert marks.apply({"use": "only"}).list_conditions([]) == []
    assert marks.apply({"tick": "a", "on": False}).ticks == (ODD,)
    assert marks.apply({"reset": True}) == Marks("run", reset=1)


def test_without_ticks_their_use_ends():
    marks = Marks("run").apply({"tick": "a", "on": True}).apply({"use": "without"}).apply({"tick": "a", "on": False})
    assert marks == Marks("run")


@pytest.mark.parametrize(
    "action",
    [
        None,
        [],
        {"bounds": 3},
        {"bounds": {"sync_c": ["1", None], "x": [float("inf"), float("nan")], "y": [True, [1]], "z": 7}},
        {"bounds": {"n" * 2000: [1, 2], "": [1, 2]}},
        {"bounds": {"sync_c": [float("nan"), float("-inf")]}},
        {"tick": 3, "on": True},
        {"tick": "x" * 2000, "on": True},
        {"use": "only"},
        {"use": ["only"]},
        {"reset": "yes"},
    ],
)
def test_invalid_actions_change_nothing(action):
    assert Marks("run").apply(action) == Marks("run")


def test_ticks_that_do_not_fit_into_a_condition_are_refused_and_the_browser_shows_it():
    marks, columns = Marks("run", use="only"), NamedColumns(pa.schema([("record_id", pa.string())]))
    while not marks.reset:
        before, marks = marks, marks.apply({"tick": f"portrait-{len(marks.ticks):05d}-speech", "on": True})
    assert marks == replace(before, reset=1)
    assert len(marks.ticks) > 300
    for used in (marks, marks.apply({"use": "without"})):
        (condition,) = used.list_conditions([])
        parse_condition(condition, columns)
    assert len(marks.apply({"tick": marks.ticks[0], "on": False}).ticks) == len(marks.ticks) - 1


def test_a_bound_of_any_size_changes_nothing_else():
    assert Marks("run").apply({"bounds": {"x": [10**400, None]}}).ticks == ()


@pytest.mark.parametrize("name", ["null", "in", "a-b", "1st"])
def test_names_that_are_no_identifiers_are_quoted(name):
    assert quote_column(name) == f"`{name}`"
