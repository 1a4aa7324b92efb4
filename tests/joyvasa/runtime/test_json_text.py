"""JSON text is read by strict readers."""

import json

import pytest

from joyvasa.runtime.json_text import format_json


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), "NaN"),
        ({"a": [1.5, float("inf"), {"b": -float("inf")}]}, {"a": [1.5, "Infinity", {"b": "-Infinity"}]}),
        ((float("nan"), None, True, 3), ["NaN", None, True, 3]),
        ({"a": 1e308, "b": "NaN"}, {"a": 1e308, "b": "NaN"}),
    ],
)
def test_numbers_that_json_does_not_have_become_text(value, expected):
    assert json.loads(format_json(value), parse_constant=refuse) == expected
