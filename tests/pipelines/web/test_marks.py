"""Bounds and ticks from a browser become conditions; other values change nothing."""

import pytest

from manifests.expressions import quote_column, quote_text
from pipelines.web.marks import MAX_TICKS, Marks

ODD = "a\"b\\c\n'`é"


def test_bounds_and_ticks_become_conditions():
    marks = Marks("run").apply(
        {"bounds": {"metric_sync_c": [3, None], "duration_s": [1.5, 4.0], "odd name": [None, 2]}}
    )
    assert marks.conditions == ["sync_c >= 3", "duration_s >= 1.5", "duration_s <= 4.0", "`odd name` <= 2"]
    marks = Marks("run").apply({"tick": "a", "on": True}).apply({"tick": ODD, "on": True}).apply({"use": "only"})
    assert marks.conditions == [f"record_id in [{quote_text('a')}, {quote_text(ODD)}]"]
    assert marks.apply({"use": "without"}).conditions[0].startswith("record_id not in [")
    assert marks.apply({"use": "only"}).conditions == []
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
        {"tick": 3, "on": True},
        {"tick": "x" * 2000, "on": True},
        {"use": "only"},
        {"use": ["only"]},
        {"reset": "yes"},
    ],
)
def test_invalid_actions_change_nothing(action):
    assert Marks("run").apply(action) == Marks("run")


def test_the_number_of_ticks_is_limited():
    marks = Marks("run", ticks=tuple(map(str, range(MAX_TICKS))))
    assert len(marks.apply({"tick": "one more", "on": True}).ticks) == MAX_TICKS


@pytest.mark.parametrize("name", ["null", "in", "a-b", "1st"])
def test_names_that_are_no_identifiers_are_quoted(name):
    assert quote_column(name) == f"`{name}`"
