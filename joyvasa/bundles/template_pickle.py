"""Read the published motion template: a pickle of a dictionary of numpy arrays.

A pickle calls what it names. Here it may only name what numpy arrays are pickled with, and gets a stand-in for each, so
numpy itself is not called by the file: arrays are rebuilt from their bytes.
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

MAX_BYTES = 1 << 18  # the published file has about 3 kB


class _Refused(Exception):  # noqa: N818 (never leaves this module)
    """The file names something that is not an array."""


class _DataType:
    """A numeric type as numpy pickles it: a code such as `f8`, then its byte order."""

    def __init__(self, code: Any, *_: Any) -> None:
        text = code.decode("ascii", "replace") if isinstance(code, bytes) else code
        if not isinstance(text, str) or len(text) > 3 or np.dtype(text).kind not in "fiub":
            raise _Refused(f"an array of type {str(code)[:40]!r}")
        self.value = np.dtype(text)

    def __setstate__(self, state: Any) -> None:
        self.value = self.value.newbyteorder(state[1] if state[1] in ("<", ">") else "|")


class _Array:
    """An array, built from its bytes at once or by its pickled state (version, shape, type, column order, bytes)."""

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
        raise _Refused(f"text in encoding {str(encoding)[:40]!r}")
    return text.encode("latin1")


def _ndarray(*_: Any) -> Any:
    raise _Refused("numpy.ndarray as a function")


# Name without the version's spelling of numpy.core -> stand-in.
_ALLOWED: dict[str, Callable[..., Any]] = {
    "numpy.ndarray": _ndarray,
    "numpy.dtype": _DataType,
    "_codecs.encode": _encode,
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy.core.multiarray.scalar": lambda kind, data: _Array().fill(data, kind),
    "numpy.core.numeric._frombuffer": lambda *parts: _Array().fill(*parts),
}


class _Name:
    """An allowed name: may be called, but has no state that a file could set for all later files."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise _Refused("a state for an allowed name")


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> _Name:
        function = _ALLOWED.get(f"{module.replace('numpy._core', 'numpy.core', 1)}.{name}")  # numpy 2 renamed it
        if function is None:
            raise _Refused(f"{module}.{name}")
        return _Name(function)

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("an object outside the file")


def _check_sizes(data: bytes) -> None:
    """Refuse sizes that the file only claims; the unpickler would allocate memory for them."""
    for operation, argument, _ in pickletools.genops(data):  # itself refuses strings beyond the end
        if operation.name.endswith("PUT") and int(argument or 0) > len(data):
            raise ValueError("a memo index beyond the file")


def read_template_pickle(path: Path) -> dict[str, np.ndarray]:
    """Read a dictionary of numeric arrays.

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
        _check_sizes(data)
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
