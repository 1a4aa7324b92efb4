"""Description of the machine, and the speed that large simple computations reach on it."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.functional import conv2d

from joyvasa.runtime.device import PRECISIONS, Precision, count_usable_cores
from pipelines.bench.timing import time_function

MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}
CONVOLUTION_BATCH = {"cpu": 1, "cuda": 32}
CONVOLUTION_CHANNELS, CONVOLUTION_SIDE = 256, 128  # as in the second last block of the generator


@dataclass(frozen=True)
class Machine:
    """Description of the machine."""

    processor: str  # name of the processor
    cores: int  # number of cores that this process may use
    threads: int  # number of PyTorch threads of this process
    memory_bytes: int | None  # size of the main memory
    device: str  # name of the device that the networks computed on
    # torch, python: versions
    torch: str
    python: str


@dataclass(frozen=True)
class Limit:
    """Speed that a large computation reaches on this machine."""

    computation: str  # `matrix_product` or `convolution` (3x3)
    precision: Precision  # precision of the numbers
    flops: int  # floating-point operations of one call; a multiply-add counts as two
    seconds: float  # median time of one call
    flops_per_s: float  # `flops / seconds`


def describe_machine(device: torch.device) -> Machine:
    """Return a description of this machine and of a device."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None
    return Machine(
        processor=_processor_name(),
        cores=count_usable_cores(),
        threads=torch.get_num_threads(),
        memory_bytes=memory,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        torch=torch.__version__,
        python=platform.python_version(),
    )


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def measure_limits(device: torch.device, precision: Precision, *, for_s: float) -> list[Limit]:
    """Measure a large matrix product and a 3x3 convolution on a device.

    Args:
        device: device to measure.
        precision: precision of the numbers; must be available on the device, see `precision_unavailable`.
        for_s: measuring time of each in seconds.
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
            function()  # warm-up
            seconds = time_function(function, device, for_s=for_s).median_s
            limits.append(Limit(name, precision, flops, seconds, flops / seconds))
    return limits


def precision_unavailable(device: torch.device, precision: Precision) -> str | None:
    """Return why a precision cannot be measured on a device; None if it can."""
    if precision == "fp32" or device.type not in ("cpu", "cuda"):
        return None
    if device.type == "cuda":
        supported = precision == "fp16" or torch.cuda.is_bf16_supported()
    else:
        probe = getattr(torch.ops.mkldnn, f"_is_mkldnn_{precision}_supported")
        supported = bool(probe())
    return None if supported else f"{describe_machine(device).processor} does not compute in {precision}"
