"""Read the published motion template, a pickle of a dictionary of numpy arrays.

Unpickling calls functions that the file names. Only the names that numpy uses to pickle arrays are allowed, and each is
replaced by a stand-in that rebuilds arrays from their bytes, so the file cannot call numpy itself.
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


class _Refused(Exception):  # noqa: N818 (private to this module)
    """The file names something other than numeric arrays."""


class _DataType:
    """Stand-in for a numeric dtype, pickled as a code such as `f8` and its byte order."""

    def __init__(self, code: Any, *_: Any) -> None:
        text = code.decode("ascii", "replace") if isinstance(code, bytes) else code
        if not isinstance(text, str) or len(text) > 3 or np.dtype(text).kind not in "fiub":
            raise _Refused(f"an array of type {str(code)[:40]!r}")
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
        raise _Refused(f"text in encoding {str(encoding)[:40]!r}")
    return text.encode("latin1")


def _ndarray(*_: Any) -> Any:
    raise _Refused("numpy.ndarray as a function")


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
        raise _Refused("a state for an allowed name")


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> _Name:
        function = _ALLOWED.get(f"{module.replace('numpy._core', 'numpy.core', 1)}.{name}")  # renamed in numpy 2
        if function is None:
            raise _Refused(f"{module}.{name}")
        return _Name(function)

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("an object outside the file")


def _check_sizes(data: bytes) -> None:
    """Reject claimed sizes beyond the file, for which the unpickler would allocate memory."""
    for operation, argument, _ in pickletools.genops(data):  # rejects strings beyond the end of the file
        if operation.name.endswith("PUT") and int(argument or 0) > len(data):
            raise ValueError("a memo index beyond the file")


def read_template_pickle(path: Path) -> dict[str, np.ndarray]:
    """Read a pickled dictionary of numeric arrays.

    Args:
        path: path of the pickle.

    Returns:
        Arrays by name.

    Raises:
        ModelError: `weights_unsafe` if the pickle names anything but numeric arrays; `weights_damaged` if it is
            damaged or not such a pickle.
    """
    if not path.is_file():
        raise ModelError("weights_missing", f"{path}: no such file")
    if path.stat().st_size > MAX_BYTES:
        raise ModelError("weights_damaged", f"{path}: larger than {MAX_BYTES} bytes; expected a motion template")

    data = path.read_bytes()
    try:
        _check_sizes(data)
        content = _ArrayUnpickler(io.BytesIO(data), encoding="latin1").load()
        return {str(name): _to_array(value) for name, value in _check_items(content)}
    except _Refused as error:
        raise ModelError(
            "weights_unsafe",
            f"{path}: the file asks for {error} and was not loaded; expected a dictionary of numeric arrays: "
            "get it again from its publisher",
        ) from None
    except Exception as error:  # a damaged pickle may raise any exception
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError("weights_damaged", f"{path}: not a pickle of numeric arrays ({reason})") from None


def _check_items(content: Any) -> Any:
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ValueError(f"contains a {type(content).__name__}, expected a dictionary of named arrays")
    return content.items()


def _to_array(value: Any) -> np.ndarray:
    if isinstance(value, _Array) and value.value is not None:
        return value.value
    if isinstance(value, (bool, int, float, list)):
        array = np.asarray(value)
        if array.dtype.kind in "fiub":
            return array
    raise ValueError(f"contains a {type(value).__name__}, expected numeric arrays")
