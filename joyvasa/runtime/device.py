"""Device and precision of networks."""

from __future__ import annotations

import os
import shutil
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from joyvasa.errors import EnvironmentFault, first_line

Precision = Literal["fp32", "fp16", "bf16"]
PRECISIONS: dict[Precision, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of a name; `auto` selects CUDA, else MPS, else the CPU.

    Raises:
        EnvironmentFault: `device_unavailable`.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = first_line(error)[:120]
        raise EnvironmentFault(
            "device_unavailable", f"device {name}: cannot be used here ({reason}); expected auto, cpu, or cuda:N"
        ) from None
    return device


def count_usable_cores() -> int:
    """Return the number of processor cores of this machine that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Create a context in which networks compute in a precision; their weights remain float32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, PRECISIONS[precision])


def find_missing_compiler(device: torch.device) -> str | None:
    """Return what `torch.compile` needs and is missing for a device; None if nothing is missing."""
    if device.type == "cuda":
        try:
            import triton  # noqa: F401  # pyright: ignore[reportMissingImports]
        except ImportError:
            return "the package triton"
        if not (os.environ.get("CC") or any(shutil.which(name) for name in ("gcc", "clang"))):
            return "a C compiler, gcc or clang"  # Triton compiles the calls of its kernels
    elif not any(shutil.which(name) for name in ("g++", "clang++")):
        return "a C++ compiler, g++ or clang++"
    return None
