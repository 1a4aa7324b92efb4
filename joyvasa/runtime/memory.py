"""Memory of large arrays on the CPU, kept for the next ones."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator

# Numbers of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_USUAL, _LARGE = 32 << 20, 1 << 30  # bytes; the first is what glibc comes to by itself


def keep_freed_memory() -> bool:
    """Lets this process reuse freed memory, rather than give it back to the system and ask for it anew.

    Tensors above 32 MiB are otherwise fresh memory at every operation, and each of its pages has to be made and cleared
    when it is first touched: a quarter of the time that a frame of the published generator takes. The process stays as
    large as it once was.

    Returns:
        whether this was possible: with glibc, so on most Linux systems, and nowhere else.
    """
    return _set(_LARGE)


@contextlib.contextmanager
def default_allocation() -> Iterator[None]:
    """As if `keep_freed_memory` had not been called, and then as if it had: to measure what it brings."""
    library = _glibc()
    _set(_USUAL)
    if library is not None:
        library.malloc_trim(0)
    try:
        yield
    finally:
        _set(_LARGE)


def _set(threshold: int) -> bool:
    library = _glibc()
    if library is None:
        return False
    return bool(library.mallopt(_MMAP_THRESHOLD, threshold)) and bool(
        library.mallopt(_TRIM_THRESHOLD, 2 * threshold - 1)
    )


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    # Others have functions of these names that do nothing.
    return library if hasattr(library, "gnu_get_libc_version") else None
