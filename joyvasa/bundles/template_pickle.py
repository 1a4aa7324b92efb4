"""Reads the published motion template: a pickle of a dictionary of numpy arrays.

Only the pickle operations and names that numpy arrays need are followed, and numpy itself is not
called by the file: arrays are rebuilt here from their bytes.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from joyvasa.errors import ModelError

MAX_BYTES = 16 << 20  # the published file has about 3 kB

ALLOWED_OPERATIONS = frozenset(
    """PROTO FRAME STOP MARK POP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 FLOAT BINFLOAT
    STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
    UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 EMPTY_DICT DICT SETITEM SETITEMS
    EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
    GLOBAL STACK_GLOBAL REDUCE BUILD PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET MEMOIZE""".split()
)


class _Refused(Exception):  # noqa: N818 (never leaves this module)
    """The file names something that is not an array."""


class _Call:
    """Stands for one allowed name. Has no attributes that a file could set."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setattr__(self, name: str, value: Any) -> None:
        raise _Refused("an attribute of an allowed name")

    def __setstate__(self, state: Any) -> None:
        raise _Refused("a state for an allowed name")


class _DataType:
    """A numeric type as numpy pickles it: a code such as `f8`, then its byte order."""

    __slots__ = ("value",)

    def __init__(self, code: Any, *_: Any) -> None:
        text = code.decode("ascii", "replace") if isinstance(code, bytes) else code
        if not isinstance(text, str) or len(text) > 3 or np.dtype(text).kind not in "fiub":
            raise _Refused(f"an array of type {str(code)[:40]!r}")
        self.value = np.dtype(text)

    def __setstate__(self, state: Any) -> None:
        self.value = self.value.newbyteorder(state[1] if state[1] in ("<", ">") else "|")


class _Array:
    """An array that is filled by its pickled state (version, shape, type, column order, bytes)."""

    __slots__ = ("value",)

    def __init__(self, *_: Any) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        shape, kind, by_column, data = state[-4:]
        self.value = _array(data, kind, shape, "F" if by_column else "C")


def _array(data: Any, kind: Any, shape: Any, order: str = "C") -> np.ndarray:
    raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
    sizes = tuple(int(size) for size in shape)
    if not isinstance(kind, _DataType) or any(size < 0 for size in sizes):
        raise ValueError("an array without a numeric type")
    if math.prod(sizes) * kind.value.itemsize != len(raw):
        raise ValueError(f"an array of shape {sizes} in {len(raw)} bytes")
    return np.frombuffer(raw, kind.value).reshape(sizes, order="F" if order == "F" else "C").copy()


def _filled(data: Any, kind: Any, shape: Any, order: str = "C") -> _Array:
    array = _Array()
    array.value = _array(data, kind, shape, order)
    return array


def _encode(text: Any, encoding: Any) -> bytes:
    if encoding != "latin1" or not isinstance(text, str):
        raise _Refused(f"text in encoding {str(encoding)[:40]!r}")
    return text.encode("latin1")


def _marker(*_: Any) -> Any:
    raise _Refused("numpy.ndarray as a function")


# numpy 2 renamed numpy.core to numpy._core; pickles of both exist.
_NAMES: dict[str, Callable[..., Any]] = {
    "numpy.ndarray": _marker,
    "numpy.dtype": _DataType,
    "_codecs.encode": _encode,
    **{f"numpy.{core}.multiarray._reconstruct": _Array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": lambda kind, data: _filled(data, kind, ()) for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _filled for core in ("core", "_core")},
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        function = _NAMES.get(f"{module}.{name}")
        if function is None:
            raise _Refused(f"{module}.{name}")
        return _Call(function)

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("an object outside the file")


def _check_operations(data: bytes) -> None:
    for operation, argument, _ in pickletools.genops(data):
        if operation.name not in ALLOWED_OPERATIONS:
            raise _Refused(f"pickle operation {operation.name}")
        if operation.name.endswith("PUT") and int(argument or 0) > len(data):
            raise ValueError("a memo index beyond the file")  # would make the unpickler allocate for it


def read_template_pickle(path: Path) -> dict[str, np.ndarray]:
    """Reads a dictionary of numeric arrays.

    Args:
        path: the pickle.

    Returns:
        Arrays by name.

    Raises:
        ModelError: `weights_unsafe` if the pickle names anything but numeric arrays;
            `weights_damaged` if it is no such pickle.
    """
    if not path.is_file():
        raise ModelError("weights_missing", f"{path}: no such file")
    if path.stat().st_size > MAX_BYTES:
        raise ModelError("weights_damaged", f"{path}: larger than {MAX_BYTES} bytes; expected a motion template")
    data = path.read_bytes()
    try:
        _check_operations(data)
        content = _ArrayUnpickler(io.BytesIO(data), encoding="latin1").load()
        return {str(name): _value(value) for name, value in _items(content)}
    except _Refused as error:
        raise ModelError(
            "weights_unsafe",
            f"{path}: the file asks for {error} and was not loaded; expected a dictionary of numeric arrays: "
            "get it again from its publisher",
        ) from None
    except Exception as error:  # a damaged pickle raises almost anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError("weights_damaged", f"{path}: not a pickle of numeric arrays ({reason})") from None


def _items(content: Any) -> Any:
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ValueError(f"holds a {type(content).__name__}, expected a dictionary of named arrays")
    return content.items()


def _value(value: Any) -> np.ndarray:
    if isinstance(value, _Array) and value.value is not None:
        return value.value
    if isinstance(value, (bool, int, float, list)):
        array = np.asarray(value)
        if array.dtype.kind in "fiub":
            return array
    raise ValueError(f"holds a {type(value).__name__}, expected numeric arrays")
