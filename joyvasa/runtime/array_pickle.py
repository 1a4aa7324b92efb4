"""Read pickles of numeric numpy arrays in dictionaries and lists, without running code from the file.

Unpickling calls functions that the file names. Only the names that numpy uses to pickle arrays are allowed, and each is
replaced by a stand-in that rebuilds arrays from their bytes, so the file cannot call numpy itself.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np


class PickleRefused(Exception):  # noqa: N818 (describes the file, not the program)
    """The file names something other than numeric arrays."""


class _DataType:
    """Stand-in for a numeric dtype, pickled as a code such as `f8` and its byte order."""

    def __init__(self, code: Any, *_: Any) -> None:
        text = code.decode("ascii", "replace") if isinstance(code, bytes) else code
        if not isinstance(text, str) or len(text) > 3 or np.dtype(text).kind not in "fiub":
            raise PickleRefused(f"an array of type {str(code)[:40]!r}")
        self.value = np.dtype(text)

    def __setstate__(self, state: Any) -> None:
        self.value = self.value.newbyteorder(state[1] if state[1] in ("<", ">") else "|")


class _Array:
    """Stand-in for an array, built from bytes or from its pickled state (version, shape, type, order, bytes)."""

    def __init__(self, *_: Any) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        shape, kind, by_column, data = state[-4:]
        self.fill(data, kind, shape, "F" if by_column else "C")

    def fill(self, data: Any, kind: Any, shape: Any = (), order: str = "C") -> _Array:
        raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
        sizes = tuple(int(size) for size in shape)
        if not isinstance(kind, _DataType) or any(size < 0 for size in sizes):
            raise ValueError("an array without a numeric type")
        if math.prod(sizes) * kind.value.itemsize != len(raw):
            raise ValueError(f"an array of shape {sizes} in {len(raw)} bytes")
        self.value = np.frombuffer(raw, kind.value).reshape(sizes, order="F" if order == "F" else "C").copy()
        return self


def _encode(text: Any, encoding: Any) -> bytes:
    if encoding != "latin1" or not isinstance(text, str):
        raise PickleRefused(f"text in encoding {str(encoding)[:40]!r}")
    return text.encode("latin1")


def _ndarray(*_: Any) -> Any:
    raise PickleRefused("numpy.ndarray as a function")


# Stand-ins by name, with the numpy 1 spelling of numpy.core.
_ALLOWED: dict[str, Callable[..., Any]] = {
    "numpy.ndarray": _ndarray,
    "numpy.dtype": _DataType,
    "_codecs.encode": _encode,
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy.core.multiarray.scalar": lambda kind, data: _Array().fill(data, kind),
    "numpy.core.numeric._frombuffer": lambda *parts: _Array().fill(*parts),
}


class _Name:
    """Callable for an allowed name, without state that one file could change for later files."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise PickleRefused("a state for an allowed name")


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> _Name:
        function = _ALLOWED.get(f"{module.replace('numpy._core', 'numpy.core', 1)}.{name}")  # renamed in numpy 2
        if function is None:
            raise PickleRefused(f"{module}.{name}")
        return _Name(function)

    def persistent_load(self, pid: Any) -> Any:
        raise PickleRefused("an object outside the file")


def _check_sizes(data: bytes) -> None:
    """Reject claimed sizes beyond the file, for which the unpickler would allocate memory."""
    for operation, argument, _ in pickletools.genops(data):  # rejects strings beyond the end of the file
        if operation.name.endswith("PUT") and int(argument or 0) > len(data):
            raise ValueError("a memo index beyond the file")


def load_array_pickle(data: bytes) -> Any:
    """Return the content of a pickle of limited size: dictionaries, lists, texts, numbers, and arrays for `as_array`.

    Raises:
        PickleRefused: the pickle names anything but numeric arrays; the text says what.
        Exception: the pickle is damaged; any exception.
    """
    _check_sizes(data)
    return _ArrayUnpickler(io.BytesIO(data), encoding="latin1").load()


def as_array(value: Any) -> np.ndarray:
    """Return a value of a loaded pickle as a numeric array.

    Raises:
        ValueError: it is neither an array nor a number or list of numbers.
    """
    if isinstance(value, _Array) and value.value is not None:
        return value.value
    if isinstance(value, (bool, int, float, list)):
        array = np.asarray(value)
        if array.dtype.kind in "fiub":
            return array
    raise ValueError(f"contains a {type(value).__name__}, expected numeric arrays")
