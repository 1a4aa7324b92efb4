"""Allocation of memory as without `keep_freed_memory`, to measure its gain."""

import contextlib
from collections.abc import Iterator

from joyvasa.runtime.memory import _glibc, _set_threshold, keep_freed_memory

DEFAULT = 32 << 20  # bytes, the upper limit of glibc's dynamic threshold


@contextlib.contextmanager
def default_allocation() -> Iterator[None]:
    """Suspend the effect of `keep_freed_memory` for a block."""
    library = _glibc()
    _set_threshold(DEFAULT)
    if library is not None:
        library.malloc_trim(0)
    try:
        yield
    finally:
        keep_freed_memory()
