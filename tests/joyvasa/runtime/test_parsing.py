import time

import pytest

from joyvasa.runtime.parsing import parse_json, parse_yaml, read_limited


def test_plain_values_are_read():
    assert parse_yaml("a: [1, 2.5, true, null, x]\nb: {c: 2020-02-29}")["a"] == [1, 2.5, True, None, "x"]
    assert parse_json(b'{"a": [1, null]}') == {"a": [1, None]}


@pytest.mark.parametrize(
    "text",
    [
        "2001-99-99", "!!int ''", "!!bool x", "!!timestamp x", "!!binary 'é'", "&a [*a]", "{a: 1, a: 2}",
        "[" * 3000, "[" * 100_000, "{a: " * 50_000, "- " * 50_000, "[" * 101 + "]" * 101, "{[a]: b}",
        "9" * 5000, "0x" + "f" * 5000, "!!python/object:os.x {}", "\x00", "a: b: c", b"\xff",
    ],
)  # fmt: skip
def test_other_yaml_gives_one_line(text):
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        parse_yaml(text)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 50_000, "", "{", b"\xff", "9" * 5000])
def test_other_json_gives_one_line(text):
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        parse_json(text)


def test_many_keys_take_little_time():
    """Counting the keys for each key took ten minutes for a megabyte."""
    started = time.process_time()
    assert len(parse_yaml("".join(f"k{n}: 1\n" for n in range(20_000)))) == 20_000
    assert time.process_time() - started < 10


def test_a_file_without_an_end_is_not_read():
    with open("/dev/zero", "rb") as stream, pytest.raises(ValueError, match="has more than 4 MiB"):
        read_limited(stream)
