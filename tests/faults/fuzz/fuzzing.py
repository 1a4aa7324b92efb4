"""Mutations of files and trees, and the property that every fuzzer checks.

`FUZZ_FACTOR=30 pytest -m slow tests/faults/fuzz` tries thirty times as many examples as the slow tests do, and
`FUZZ_SEED=7` others than they do.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st

from joyvasa.errors import JoyvasaError

FACTOR = float(os.environ.get("FUZZ_FACTOR", "1"))
SEED = os.environ.get("FUZZ_SEED")
COMPUTING_S, ELAPSED_S = 20.0, 120.0  # limits of one example; the second is for machines with much other work
MEMORY_BYTES = 1 << 30  # growth of the process and size of a child process in one example
ADDRESS_BYTES = 16 << 30  # growth of the address space; a bogus size then is a MemoryError, and the machine survives

ODD_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 7, 2**31, 2**63, -(2**63), 10**400, 0.5, -0.0, 1e308, 5e-324, float("nan"),
    float("inf"), "", " ", "a", "human", "../x", "/", "é", "\u202e", "\x00", "\x1b[31m", "a\nb", "x" * 5000, "1", "nan",
    "0x10", [], {}, [None], [[]], [1, 2], [1, "a"], {"a": 1}, {"": None}, [[[[[[[[1]]]]]]]], {"a": {"b": {"c": []}}},
]  # fmt: skip

# Texts that YAML reads as something unexpected, or cannot read.
ODD_YAML = [
    "2001-99-99", "2001-01-01", "!!int ''", "!!int x", "!!bool x", "!!timestamp x", "!!float ''",
    "!!binary 'é'", "!!null x",
    "&a [*a]", "&a {b: *a}", "[" * 3000, "{a: " * 2000, "{? [a] : b}", "{[a]: b}", "{1: 2}", "{null: 1}",
    "!!set {a}", "!!pairs 3",
    "!!omap [1]", "0o99", "1:99:99", "9" * 5000, "{<<: 3}", "{<<: [1]}", "=", "<<", "\x00", "\t", "- -",
    ".nan", ".inf", "1e999",
    "!!python/object:os.x {}", "!x y", "%YAML 9.9", "---\n---", "a: b: c", "'", '"', "|\n a", "? ", "*", "&",
    "@", "`", "\ufeff",
]  # fmt: skip


def fuzz(max_examples: int) -> Callable[[Any], Any]:
    """Return a decorator that tries the same examples in each run with the same `FUZZ_SEED`."""
    chosen = settings(
        max_examples=max(1, round(max_examples * FACTOR)),
        derandomize=SEED is None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # examples are small changes already, and shrinking takes minutes
    )
    return chosen if SEED is None else lambda test: seed(int(SEED))(chosen(test))


def call(function: Callable[[], Any]) -> Any:
    """Call a function that must return, or raise a JoyvasaError of one line, within limits of time and memory.

    Returns:
        The result, or the error.
    """
    with _limited_time(), _limited_memory():
        try:
            return function()
        except JoyvasaError as error:
            check_error(error)
            return error


def check_error(error: JoyvasaError) -> None:
    """Check that an error is a code and one line of text that a terminal can show."""
    text = str(error)
    assert re.fullmatch(r"[a-z][a-z0-9_]*", error.code), error.code
    assert text.isprintable(), f"not one printable line: {text!r}"
    assert len(text) < 2000, f"{len(text)} characters: {text[:500]}"
    assert error.sentence.strip()


class _Timeout(BaseException):
    """Not an Exception, so that no decoder takes it for a damaged file."""


@contextmanager
def _limited_time() -> Iterator[None]:
    """Limit the computing time of this process, and the elapsed time, which includes waiting and other processes."""

    def stop(*_: object) -> None:
        raise _Timeout

    timers = {signal.ITIMER_PROF: (signal.SIGPROF, COMPUTING_S), signal.ITIMER_REAL: (signal.SIGALRM, ELAPSED_S)}
    before = {number: signal.signal(number, stop) for number, _ in timers.values()}
    for timer, (_, seconds) in timers.items():
        signal.setitimer(timer, seconds, 1.0)  # again each second, as a callback may swallow the first exception
    try:
        yield
    except _Timeout:
        raise AssertionError(f"still busy after {COMPUTING_S} s of computing or {ELAPSED_S} s") from None
    finally:
        for timer in timers:
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _limited_memory() -> Iterator[None]:
    before, largest_child = _status("VmRSS"), _largest_child()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the highest value of VmRSS
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + ADDRESS_BYTES, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    grown = _status("VmHWM") - before
    assert grown < MEMORY_BYTES, f"memory grew by {grown >> 20} MiB"
    child = _largest_child()
    limit = MEMORY_BYTES + before  # a child that was forked starts with the pages of this process
    assert child <= max(largest_child, limit), f"a child process had {child >> 20} MiB"


def _largest_child() -> int:
    """Return the largest memory of any child process that has ended, those of earlier tests included."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    return 0


def mutated(content: bytes, others: Sequence[bytes] = ()) -> st.SearchStrategy[bytes]:
    """Damage bytes in one to four places: flipped, cut, repeated, or replaced by numbers at the edge of their range.

    Args:
        content: valid content.
        others: contents of which parts may be inserted.
    """
    size = len(content)
    # Headers are the most fragile part, so half of the positions are near the start.
    position = st.one_of(st.integers(0, min(size, 200)), st.integers(0, size))
    length = st.one_of(st.integers(0, 16), st.integers(0, size))
    numbers = [struct.pack(form, value) for form in ("<I", ">I") for value in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x10000)]
    numbers += [struct.pack("<H", value) for value in (0, 0x7FFF, 0xFFFF)] + [bytes(8), b"\xff" * 8]
    change = st.one_of(
        st.tuples(st.just("put"), position, st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from(numbers))),
        st.tuples(st.just("flip"), position, st.integers(0, 7)),
        st.tuples(st.just("cut"), position, length),
        st.tuples(st.just("end"), position, st.just(0)),
        st.tuples(st.just("repeat"), position, length),
        st.tuples(st.just("insert"), position, st.binary(min_size=1, max_size=64)),
        *([st.tuples(st.just("splice"), position, st.sampled_from(list(others)))] if others else []),
    )
    return st.lists(change, min_size=1, max_size=4).map(lambda changes: _apply(content, changes))


def _apply(content: bytes, changes: Sequence[tuple[str, int, Any]]) -> bytes:
    for kind, at, value in changes:
        at = min(at, len(content))
        if kind == "put":
            content = content[:at] + value + content[at + len(value) :]
        elif kind == "flip" and at < len(content):
            content = content[:at] + bytes([content[at] ^ (1 << value)]) + content[at + 1 :]
        elif kind == "cut":
            content = content[:at] + content[at + value :]
        elif kind == "end":
            content = content[:at]
        elif kind == "repeat":
            content = content[: at + value] + content[at:]
        elif kind == "insert":
            content = content[:at] + value + content[at:]
        elif kind == "splice":
            content = content[:at] + value[at:]
    return content


def mutated_tree(tree: Any, values: Sequence[Any] = ODD_VALUES) -> st.SearchStrategy[Any]:
    """Replace, remove or add entries of nested mappings and lists in one to three places."""
    paths = list(_paths(tree))
    change = st.tuples(
        st.sampled_from(paths), st.sampled_from(["put", "put", "put", "remove", "add"]), st.sampled_from(values)
    )
    return st.lists(change, min_size=1, max_size=3).map(lambda changes: _change_tree(tree, changes))


def _paths(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    entries = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in entries:
        yield from _paths(value, (*path, key))


def _change_tree(tree: Any, changes: Sequence[tuple[tuple[Any, ...], str, Any]]) -> Any:
    for path, kind, value in changes:
        tree = _change_at(tree, path, kind, value)
    return tree


def _change_at(tree: Any, path: tuple[Any, ...], kind: str, value: Any) -> Any:
    if not path:
        if kind == "add" and isinstance(tree, Mapping):
            return {**tree, "added": value}
        if kind == "add" and isinstance(tree, list):
            return [*tree, value]
        return value
    key, rest = path[0], path[1:]
    if isinstance(tree, Mapping) and key in tree:
        if kind == "remove" and not rest:
            return {name: item for name, item in tree.items() if name != key}
        return {name: _change_at(item, rest, kind, value) if name == key else item for name, item in tree.items()}
    if isinstance(tree, list) and isinstance(key, int) and key < len(tree):
        if kind == "remove" and not rest:
            return tree[:key] + tree[key + 1 :]
        return [_change_at(item, rest, kind, value) if index == key else item for index, item in enumerate(tree)]
    return tree


def mutated_yaml(text: str) -> st.SearchStrategy[bytes]:
    """Put texts that YAML reads as something unexpected into values or between lines, or damage bytes."""
    lines = text.splitlines()
    place = st.tuples(st.integers(0, len(lines) - 1), st.sampled_from(ODD_YAML), st.booleans())

    def change(places: list[tuple[int, str, bool]]) -> bytes:
        changed = list(lines)
        for index, odd, replace in places:
            name, colon, _ = changed[index].partition(":")
            changed[index] = f"{name}{colon} {odd}" if replace else f"{changed[index]}\n{odd}"
        return "\n".join(changed).encode()

    return st.one_of(st.lists(place, min_size=1, max_size=2).map(change), mutated(text.encode()))


def mutated_yaml_file(text: str) -> st.SearchStrategy[bytes]:
    """Change lines, bytes or entries of a YAML file."""
    trees = mutated_tree(yaml.safe_load(text)).map(lambda tree: yaml.safe_dump(tree).encode("utf-8", "replace"))
    return st.one_of(mutated_yaml(text), trees)
