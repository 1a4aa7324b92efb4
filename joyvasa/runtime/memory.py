"""Memory of the networks: how many frames a call computes, and reuse of freed memory on the CPU."""

from __future__ import annotations

import ctypes
import sys

import torch

# Numbers of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGE = 1 << 30  # bytes


# Weights of small networks, at most; those of the published renderer are seven times as large.
SMALL_NETWORK_BYTES = 64 << 20
_BATCH_FRAMES = 8  # more frames per call are hardly faster, and need more memory


def choose_batch_frames(device: torch.device, weight_bytes: int) -> int:
    """Return the number of frames that networks compute in one call.

    A CPU is busy with one frame of large networks: 8 frames per call took 98 to 103 % of the processor time of single
    ones and 2.4 times their memory. GPUs, and small networks with their short operations, need larger calls.
    """
    return 1 if device.type == "cpu" and weight_bytes > SMALL_NETWORK_BYTES else _BATCH_FRAMES


def keep_freed_memory() -> bool:
    """Let this process reuse freed memory instead of returning it to the system.

    Otherwise every tensor above 32 MiB gets new memory, whose pages are allocated and cleared at first access; this is
    a quarter of the time of a frame of the published generator. The process keeps its maximum size.

    Returns:
        Whether this is supported, which is the case with glibc, so on most Linux systems.
    """
    return _set_threshold(_LARGE)


def _set_threshold(threshold: int) -> bool:
    library = _glibc()
    if library is None:
        return False
    return bool(library.mallopt(_MMAP_THRESHOLD, threshold)) and bool(
        library.mallopt(_TRIM_THRESHOLD, 2 * threshold - 1)
    )


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    # Other C libraries have functions of these names without effect.
    return library if hasattr(library, "gnu_get_libc_version") else None
