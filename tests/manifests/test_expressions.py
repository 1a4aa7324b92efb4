"""Conditions keep the rows that they describe, drop rows without a value, and refuse everything else in a sentence."""

import datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from joyvasa.errors import InputError
from manifests.expressions import MAX_CHARACTERS, NamedColumns, parse_condition

NAN = float("nan")
TABLE = pa.table(
    {
        "record_id": ["a", "b", "c", "d"],
        "metric_sync_c": pa.array([5.0, 2.0, None, NAN], pa.float64()),
        "frames": pa.array([10, 20, 30, None], pa.int64()),
        "seed": pa.array([1, 2**63 - 1, 3, 4], pa.int64()),
        "big": pa.array([1, 2**64 - 1, 3, 0], pa.uint64()),
        "price": pa.array([Decimal("1.50"), Decimal("2.25"), None, Decimal("0.10")], pa.decimal128(10, 2)),
        "voice": pa.array(["anna", "ben", None, "annabel"]),
        "coded": pa.array(["x", "y", "x", None]).dictionary_encode(),
        "good": pa.array([True, False, None, True]),
        "licenses": pa.array([["MIT", "research only"], ["MIT"], [], None], pa.list_(pa.string())),
        "day": pa.array([datetime.date(2026, 1, n) for n in (1, 2, 3)] + [None]),
        "at": pa.array([datetime.datetime(2026, 1, n, tzinfo=datetime.UTC) for n in (1, 2, 3, 4)]),
        "driving.multiplier": pa.array([1.0, 1.5, 2.0, None]),
        "odd name-ß": pa.array([1, 2, 3, 4]),
        "class": pa.array(["p", "q", "r", "s"]),
        "null": pa.array([1, None, 1, None]),
        "empty": pa.nulls(4),
        "bytes": pa.array([b"1", b"2", b"3", b"4"]),
    }
)
NAMES = NamedColumns(TABLE.schema, {"sync_c": "metric_sync_c", "sync": "metric_sync_c"})


def matches(text):
    condition = parse_condition(text, NAMES)
    mask = condition.evaluate(TABLE)
    assert len(mask) == TABLE.num_rows
    assert TABLE.filter(condition.expression).column("record_id").to_pylist() == [
        name for name, value in zip("abcd", mask.to_pylist(), strict=True) if value
    ]
    return "".join(TABLE.filter(mask).column("record_id").to_pylist())


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("frames >= 20", "bc"),
        ("frames*2 - 10 == 30 / 1.0", "b"),
        ("10 < frames <= 30", "bc"),
        ("30 >= frames > 10 and voice == 'ben'", "b"),
        ("frames == 10 or voice == 'ben'", "ab"),
        ("not (frames == 10 or frames == 20)", "c"),
        ("frames in [10, 30]", "ac"),
        ("frames in (10, 20.0)", "ab"),
        ("frames not in [10]", "bc"),
        ("frames in []", ""),
        ('voice in ["anna", "nobody"]', "a"),
        ('startswith(voice, "anna")', "ad"),
        ('contains(voice, "n")', "abd"),
        ('not contains(voice, "a")', "b"),
        ("abs(frames - 20) <= 5", "b"),
        ("-frames < -15", "bc"),
        ("good", "ad"),
        ("not good", "b"),
        ("good == false", "b"),
        ("good != True", "b"),
        ('contains(licenses, "research")', "a"),
        ('not contains(licenses, "research")', "bc"),
        ("price > 1", "ab"),
        ('coded == "x"', "ac"),
        ('coded in ["y"]', "b"),
        ("driving.multiplier > 1", "bc"),
        ("`driving.multiplier` > 1", "bc"),
        ("`odd name-ß` == 2 and `class` == 'q'", "b"),
        ("`null` == null", "bd"),
        ("voice == 'a`frames`'", ""),
        ('"anna" < voice', "bd"),
        ('day >= "2026-01-02"', "bc"),
        ('day in ["2026-01-01", "2026-01-03"]', "ac"),
        ('at >= "2026-01-02" and at < "2026-01-03 12:00:00"', "bc"),
        ("seed == 9223372036854775807", "b"),
        ("big > 3", "b"),
        (" frames\n >= 20 ", "bc"),
        ("frames / 0 > 5", "abc"),
        ("frames * 1e308 * 1e308 > 5", "abc"),
        ("seed > 1.5", "bcd"),  # integers that a float does not hold exactly are compared with floats
        ("1.0 == seed or seed > price", "abd"),
        ("seed in [1.0, 9223372036854775807]", "ab"),
        ("seed >= big", "acd"),
        ("seed == -1 or seed != -1.5", "abcd"),
    ],
)
def test_a_condition_keeps_the_rows_that_it_describes(text, rows):
    assert matches(text) == rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("sync_c > 3", "a"),
        ("not sync_c > 3", "b"),
        ("sync_c != 5", "b"),
        ("sync_c not in [5]", "b"),
        ("sync_c - sync_c == 0", "ab"),
        ("sync_c * 0 / 0 == null", "abcd"),
        ("sync_c == null", "cd"),
        ("sync_c is null", "cd"),
        ("sync_c is not None", "ab"),
        ("null != metric_sync_c", "ab"),
        ("sync_c > 3 or frames == 30", "ac"),
        ("licenses == null", "d"),
        ("bytes is null", ""),
        ("empty > 3", ""),
        ("not empty == 'x'", ""),
        ("empty in [1]", ""),
        ("contains(empty, 'x')", ""),
        ("empty + 1 > 0", ""),
        ("empty == null", "abcd"),
    ],
)
def test_missing_values_and_nan_keep_a_row_only_if_asked_for(text, rows):
    assert matches(text) == rows


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sync_x >= 3", "did you mean sync_c or sync?"),
        ("`frame s` >= 3", "did you mean frames"),
        ("zzzzzzzzzz == 1", "expected one of sync_c, sync, record_id"),
    ],
)
def test_an_unknown_column_is_refused_with_the_nearest_names(text, problem):
    with pytest.raises(InputError, match="column_unknown") as error:
        parse_condition(text, NAMES)
    assert problem in str(error.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected one such as"),
        ("frames = 3", "equality is =="),
        ("frames >= 3 && good", "invalid syntax"),
        ("frames", "is no comparison"),
        ("1 < 2", "is no comparison"),
        ("frames + 1", "is no comparison"),
        ('frames >= "3"', 'frames is a number and "3" is text'),
        ("voice >= 3", "CSV columns are text"),
        ("voice + 1 > 2", "voice is text; expected a number"),
        ("good > false", "no order"),
        ("not frames", "frames is a number; expected true or false"),
        ("frames and good", "frames is a number; expected true or false"),
        ('frames in ["a"]', '"a" is text and frames is a number'),
        ("frames in voice", "voice is not a list"),
        ("frames in [10, null]", "== null"),
        ("frames in [voice]", "expected constants"),
        ("frames is 10", "expected null there"),
        ("frames < null", "null has no order"),
        ("null == null", "expected a column"),
        ('licenses == "MIT"', "contains"),
        ('bytes == "MIT"', "cannot use"),
        ('day > "soon"', "expected one such as 2026-01-31"),
        ("day > at", "expected times of one type"),
        ("contains(voice, voice)", "expected text in quotation marks"),
        ("contains(frames, '1')", "frames is a number; expected text"),
        ("voice.startswith('a')", "is not allowed"),
        ("__import__('os').system('x') == 0", "is not allowed"),
        ("(lambda: 1)() == frames", "is not allowed"),
        ("[x for x in frames] == 1", "is not allowed"),
        ("frames[0] == 1", "is not allowed"),
        ("f'{frames}' == 'a'", "is not allowed"),
        ("frames ** 9 > 1", "is not allowed"),
        ("frames & 1", "is not allowed"),
        ("(frames := 3) > 1", "is not allowed"),
        ("abs(frames, 1) > 2", "is not allowed"),
        ("abs(*frames) > 2", "is not allowed"),
        ("frames == 99999999999999999999", "64-bit"),
        ("frames == b'1'", "is not allowed"),
        ("frames == 1\x00", "is not a condition"),
        ("frames == '\ud800'", "is not a condition"),
        ("not " * 500 + "good", "nested"),
        ("+".join(["frames"] * 500) + " > 1", "nested"),
        ("(" * 3000 + "good" + ")" * 3000, "is not a condition"),
        ("good or " * MAX_CHARACTERS + "good", "characters"),
    ],
)
def test_what_is_no_condition_is_refused_in_one_sentence(text, problem):
    with pytest.raises(InputError, match="condition_invalid") as error:
        parse_condition(text, NAMES)
    assert problem in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_long_conditions_are_evaluated():
    text = " or ".join(f"frames == {number}" for number in range(500))
    assert matches(text) == "abc"
    assert matches(f"record_id in {[str(number) for number in range(1000)] + ['b']}") == "b"


def test_a_condition_reads_only_its_columns():
    condition = parse_condition("sync_c > 1 and 0 < frames < 15 and sync_c < 9", NAMES)
    assert condition.columns == ("metric_sync_c", "frames")
    assert condition.evaluate(TABLE.slice(0, 0)).to_pylist() == []
