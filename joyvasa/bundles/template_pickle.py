"""Read the published motion template, a pickle of a dictionary of numpy arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from joyvasa.errors import ModelError
from joyvasa.runtime.array_pickle import PickleRefused, as_array, load_array_pickle

MAX_BYTES = 1 << 18  # the published file has about 3 kB


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

    try:
        content = load_array_pickle(path.read_bytes())
        return {str(name): as_array(value) for name, value in _check_items(content)}
    except PickleRefused as error:
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
