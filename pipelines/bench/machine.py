"""The machine: what it is, and what its largest simple computations reach."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.functional import conv2d

from joyvasa.runtime.device import PRECISIONS, Precision
from pipelines.bench.clock import repeated, synchronise
from pipelines.runs.resources import usable_cores

MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}
CONVOLUTION_BATCH = {"cpu": 1, "cuda": 32}
CONVOLUTION_CHANNELS, CONVOLUTION_SIDE = 256, 128  # as in the generator's last but one block


@dataclass(frozen=True)
class Machine:
    """Where the figures were measured.

    Attributes:
        processor: its name.
        cores: that this process may use.
        threads: of PyTorch in this process.
        memory_bytes: of the machine.
        device: name of what the networks computed on.
        torch, python: versions.
    """

    processor: str
    cores: int
    threads: int
    memory_bytes: int | None
    device: str
    torch: str
    python: str


@dataclass(frozen=True)
class Limit:
    """What a large computation reaches here.

    Attributes:
        computation: `matrix_product` or `convolution` (3x3).
        precision: of its numbers.
        flops: floating-point operations of one call, a multiplication and an addition counted as two.
        seconds: median of one call.
        flops_per_s: `flops / seconds`.
    """

    computation: str
    precision: Precision
    flops: int
    seconds: float
    flops_per_s: float


def describe(device: torch.device) -> Machine:
    """This machine."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None
    return Machine(
        processor=_processor(),
        cores=usable_cores(),
        threads=torch.get_num_threads(),
        memory_bytes=pages,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        torch=torch.__version__,
        python=platform.python_version(),
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def measure_limits(device: torch.device, precision: Precision, *, for_s: float) -> list[Limit]:
    """What a large matrix product and a 3x3 convolution reach on the device.

    Args:
        device: that is measured.
        precision: of the numbers; one that `precision_unavailable` has nothing against.
        for_s: seconds for each.
    """
    dtype = PRECISIONS[precision]
    side = MATRIX_SIDE.get(device.type, MATRIX_SIDE["cpu"])
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    batch, channels = CONVOLUTION_BATCH.get(device.type, 1), CONVOLUTION_CHANNELS
    picture = torch.randn(batch, channels, CONVOLUTION_SIDE, CONVOLUTION_SIDE, device=device).to(dtype)
    kernel = torch.randn(channels, channels, 3, 3, device=device).to(dtype)
    picture, kernel = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (picture, kernel))
    computations = {
        "matrix_product": (lambda: left @ right, 2 * side**3),
        "convolution": (
            lambda: conv2d(picture, kernel, padding=1),
            2 * batch * 9 * channels**2 * CONVOLUTION_SIDE**2,
        ),
    }
    limits = []
    with torch.inference_mode():
        for name, (function, flops) in computations.items():
            function()
            synchronise(device)
            seconds = repeated(function, device, for_s=for_s).median_s
            limits.append(Limit(name, precision, flops, seconds, flops / seconds))
    return limits


def precision_unavailable(device: torch.device, precision: Precision) -> str | None:
    """Why a precision is not measured on a device; None where it is."""
    if precision == "fp32" or device.type not in ("cpu", "cuda"):
        return None
    if device.type == "cuda":
        supported = precision == "fp16" or torch.cuda.is_bf16_supported()
    else:
        probe = getattr(torch.ops.mkldnn, f"_is_mkldnn_{precision}_supported")
        supported = bool(probe())
    return None if supported else f"{describe(device).processor} does not compute in {precision}"
