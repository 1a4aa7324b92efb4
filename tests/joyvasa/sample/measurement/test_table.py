import json

import pytest

from joyvasa.sample.measurement.table import Bar, Row, mean_row, write_table


@pytest.mark.parametrize(
    ("kind", "value", "holds"),
    [
        ("at least", 0.5, True),
        ("at least", 0.49, False),
        ("at most", 0.5, True),
        ("at most", 0.51, False),
        ("above", 0.5, False),
        ("above", 0.51, True),
        ("below", 0.5, False),
        ("below", 0.49, True),
        ("at least", float("nan"), False),
        ("below", float("nan"), False),
    ],
)
def test_a_bar_is_reached_or_not(kind, value, holds):
    assert Bar(kind, 0.5).holds(value) is holds


def test_missing_values_are_never_numbers(tmp_path):
    rows = [
        Row("made", "something", 0.612, "dB", Bar("at least", 0.5), "3 videos"),
        Row("lost", "something else", missing="the teacher: no package"),
        Row("odd", "a third thing", float("nan"), "", Bar("at most", 1)),
        Row("stated", "a fourth thing", 1.0),
    ]
    write_table(tmp_path, rows, {"bundle": "sample", "videos": ["a.mp4", "b.mp4"]})
    content = json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))
    assert [row["value"] for row in content["rows"]] == [0.612, None, None, 1.0]
    assert [row["holds"] for row in content["rows"]] == [True, None, None, None]
    table = (tmp_path / "quality.md").read_text(encoding="utf-8")
    assert "| something | 0.612 dB | at least 0.5 dB | yes | 3 videos |" in table
    assert "| something else | not available: needs the teacher: no package |" in table
    assert table.count("not available: needs ") == 2
    assert "a.mp4, b.mp4" in table


def test_a_row_below_its_bar_is_marked(tmp_path):
    write_table(tmp_path, [Row("made", "something", 0.4, "", Bar("at least", 0.5))], {})
    assert "| 0.4 | at least 0.5 | NO |" in (tmp_path / "quality.md").read_text(encoding="utf-8")


def test_a_mean_names_its_worst_input_and_ignores_missing_values():
    row = mean_row("name", "what", {"a": 1.0, "b": float("nan"), "c": 2.0}, "dB", inputs="videos", worst=max)
    assert (row.value, row.inputs, row.note) == (1.5, "2 videos", "worst c: 2.00")
    nothing = mean_row("name", "what", {"b": float("nan")}, inputs="videos", worst=min)
    assert nothing.value is None
    assert nothing.figure.startswith("not available: needs ")
