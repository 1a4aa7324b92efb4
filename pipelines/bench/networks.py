"""The networks of a bundle, one by one: how long a call takes, plain and accelerated, and what the machine can do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from joyvasa.models import Models
from joyvasa.networks.motion_generator import MotionGenerator
from joyvasa.runtime.device import Precision, autocast, compiler_missing
from pipelines.bench.clock import PeakMemory, repeated_in_turns, synchronise
from pipelines.bench.config import BenchConfig
from pipelines.bench.machine import Limit, measure_limits, precision_unavailable

KEYPOINTS = 21


@dataclass(frozen=True, kw_only=True)
class NetworkFigure:
    """One network with one number of items a call.

    Attributes:
        network: name of the role, and of the method where it is not the call itself.
        item: what is counted: a picture, a frame, a window, a window at one step of the sampler.
        batch: items of one call.
        precision: that it computes in.
        compiled: by `torch.compile`.
        skipped: why there are no figures; all below is None then.
        first_call_s: with everything that happens once, such as compiling.
        seconds: median of the calls after it.
        calls: how many that were.
        plain_seconds: as `seconds`, of the network without `joyvasa.networks.cpu.accelerate`, called in turns with it;
            None if that changes nothing in it, and if it is compiled.
        gain: `plain_seconds / seconds`.
        flops: floating-point operations of one call, a multiplication and an addition counted as two.
        memory_bytes: that the first call needed on top of the weights and its arguments.
        ms_per_item: `1000 seconds / batch`.
        items_per_s: `batch / seconds`.
        flops_per_s: `flops / seconds`.
        share_of_matrix_product, share_of_convolution: `flops_per_s` over that of the `Limit` in this precision.
    """

    network: str
    item: str
    batch: int
    precision: Precision
    compiled: bool
    skipped: str | None = None
    first_call_s: float | None = None
    seconds: float | None = None
    calls: int | None = None
    plain_seconds: float | None = None
    gain: float | None = None
    flops: int | None = None
    memory_bytes: int | None = None
    ms_per_item: float | None = None
    items_per_s: float | None = None
    flops_per_s: float | None = None
    share_of_matrix_product: float | None = None
    share_of_convolution: float | None = None


@dataclass(frozen=True)
class NetworksSection:
    """Figures of the networks, and the limits that they are compared with."""

    limits: tuple[Limit, ...]
    networks: tuple[NetworkFigure, ...]


@dataclass(frozen=True)
class _Call:
    name: str
    item: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    plain: Callable[..., Any] | None = None  # where acceleration changes something


class _PlainNetworks:
    """The networks of a bundle without acceleration, where it changes something; each loads when first needed."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._kept: dict[str, Any] = {}

    def network(self, role: str) -> Any:
        """Return the network of a role; None if it has no faster form."""
        if role not in self._kept:
            plain = self._models.bundle.network(role, self._models.device)
            kinds, fast = ([*map(type, network.modules())] for network in (plain, self._models.network(role)))
            self._kept[role] = None if kinds == fast else plain
        return self._kept[role]


def measure_networks(config: BenchConfig) -> NetworksSection:
    """Measures all networks that make a video of a person."""
    models = Models(config.run.animation)
    plain = _PlainNetworks(models)
    limits: list[Limit] = []
    figures: list[NetworkFigure] = []
    for precision in config.precisions:
        reason = precision_unavailable(models.device, precision)
        found = [] if reason else measure_limits(models.device, precision, for_s=config.case_s)
        limits += found
        for batch in config.batches:
            for call in _calls(models, plain, batch):
                figures.append(_figure(call, batch, precision, models.device, found, config.case_s, skipped=reason))
        if config.compiled and precision == config.run.animation.precision:
            lacking = compiler_missing(models.device)
            missing = reason or (lacking and f"not available: needs {lacking}")
            batch = max(config.batches)
            for call in _calls(models, plain, batch):
                figure = _figure(
                    call, batch, precision, models.device, found, config.case_s, skipped=missing, compiled=True
                )
                figures.append(figure)
    return NetworksSection(tuple(limits), tuple(figures))


def _figure(
    call: _Call,
    batch: int,
    precision: Precision,
    device: torch.device,
    limits: Sequence[Limit],
    for_s: float,
    *,
    skipped: str | None,
    compiled: bool = False,
) -> NetworkFigure:
    case: dict[str, Any] = {"network": call.name, "item": call.item, "batch": batch}
    case |= {"precision": precision, "compiled": compiled}
    if skipped:
        return NetworkFigure(**case, skipped=skipped)
    flops = _count_flops(call, device, precision)
    function = torch.compile(call.function) if compiled else call.function

    def run(form: Callable[..., Any]) -> None:
        with torch.inference_mode(), autocast(device, precision):
            form(*call.arguments)

    ways = {"here": partial(run, function)}
    if call.plain and not compiled:
        ways["plain"] = partial(run, call.plain)
    started = time.perf_counter()
    try:
        with PeakMemory(device) as memory:
            ways["here"]()
            synchronise(device)
    except Exception as error:  # of a compiler, or for lack of memory: no reason to lose the other figures
        text = str(error).strip().splitlines()
        return NetworkFigure(**case, skipped=f"{type(error).__name__}: {text[0] if text else 'no reason given'}"[:200])
    first_call_s = time.perf_counter() - started
    if "plain" in ways:
        ways["plain"]()  # warm, as the other way is
    timings = repeated_in_turns(ways, device, for_s=for_s)
    timing, seconds = timings["here"], timings["here"].median_s
    plain_seconds = timings["plain"].median_s if "plain" in timings else None
    reached = {limit.computation: limit.flops_per_s for limit in limits}
    return NetworkFigure(
        **case,
        first_call_s=first_call_s,
        seconds=seconds,
        calls=len(timing.seconds),
        plain_seconds=plain_seconds,
        gain=plain_seconds and plain_seconds / seconds,
        flops=flops,
        memory_bytes=memory.n_bytes,
        ms_per_item=1000 * seconds / batch,
        items_per_s=batch / seconds,
        flops_per_s=flops / seconds,
        share_of_matrix_product=flops / seconds / reached["matrix_product"],
        share_of_convolution=flops / seconds / reached["convolution"],
    )


def _count_flops(call: _Call, device: torch.device, precision: Precision) -> int:
    """Of one call as it is written, compiled or not."""
    attention = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
    with (
        torch.no_grad(),
        autocast(device, precision),
        FlopCounterMode(display=False, custom_mapping=attention) as count,
    ):
        call.function(*call.arguments)
    return count.get_total_flops()


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """PyTorch counts attention on the GPU only; arguments are shapes."""
    return sdpa_flop_count(query, key, value)


@torch.no_grad()
def _calls(models: Models, plain: _PlainNetworks, batch: int) -> Iterator[_Call]:
    """Each network with arguments as large as in a run; their values do not matter."""
    device, size = models.device, models.bundle.switches.input_size
    appearance, warping = models.network("appearance_feature_extractor"), models.network("warping_module")
    pictures = torch.rand(batch, 3, size, size, device=device)
    yield _Call("appearance_feature_extractor", "picture", appearance, (pictures,))
    extractor = "motion_extractor"
    yield _Call(extractor, "picture", models.network(extractor), (pictures,), plain.network(extractor))

    feature = appearance(pictures[:1]).float()
    keypoints = torch.rand(batch, KEYPOINTS, 3, device=device) - 0.5
    posed = (feature, keypoints[:1], keypoints)
    yield _Call("warping_module", "frame", warping, posed, plain.network("warping_module"))
    warped: Tensor = warping(feature, keypoints[:1], keypoints[:1])["out"]
    painter, features = "spade_generator", warped.repeat(batch, 1, 1, 1)
    yield _Call(painter, "frame", models.network(painter), (features,), plain.network(painter))
    if models.bundle.has("stitching"):
        pairs = torch.rand(batch, 2 * KEYPOINTS * 3, device=device)
        yield _Call("stitching", "frame", models.network("stitching"), (pairs,))

    generator = models.motion_model
    waveform = torch.randn(batch, generator.sizes.samples_per_window, device=device) / 10
    yield _Call("motion_generator.encode", "window", generator.encode, (waveform,))
    if not isinstance(generator, MotionGenerator):
        return
    sizes = generator.config
    motion = torch.randn(batch, sizes.n_motions, sizes.motion_feat_dim, device=device)
    audio = torch.randn(batch, sizes.n_motions, sizes.feature_dim, device=device)
    before = torch.randn(batch, sizes.n_prev_motions, sizes.motion_feat_dim, device=device)
    sound_before = torch.randn(batch, sizes.n_prev_motions, sizes.feature_dim, device=device)
    step = torch.full((batch,), sizes.n_diff_steps, device=device)
    arguments = (motion, audio, before, sound_before, step)
    plainly = plain.network("motion_generator")
    denoise = plainly and plainly.denoise
    yield _Call("motion_generator.denoise", "window at one step", generator.denoise, arguments, denoise)
