"""Speed of each network of a bundle, plain and accelerated, compared with the limits of the machine."""

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
from joyvasa.runtime.device import Precision, autocast, find_missing_compiler
from pipelines.bench.config import BenchConfig
from pipelines.bench.machine import Limit, measure_limits, precision_unavailable
from pipelines.bench.timing import PeakMemory, synchronize, time_in_turns

KEYPOINTS = 21


@dataclass(frozen=True, kw_only=True)
class NetworkFigure:
    """Figures of one network with one batch size."""

    network: str  # name of the role, followed by the name of the method if a method is measured
    item: str  # unit of the batch: a picture, a frame, a window, or a window at one step of the sampler
    batch: int  # number of items per call
    precision: Precision  # precision of the computation
    torch_compile: bool  # whether the network is compiled by `torch.compile`
    skipped: str | None = None  # reason why the case was skipped; all fields below are None then
    first_call_s: float | None = None  # time of the first call, including one-time work such as compilation
    seconds: float | None = None  # median time of the later calls
    calls: int | None = None  # number of the later calls
    # like `seconds`, of the network without `joyvasa.networks.cpu.accelerate`, called in turns with it; None if
    # acceleration does not change the network, or if it is compiled
    plain_seconds: float | None = None
    gain: float | None = None  # `plain_seconds / seconds`
    flops: int | None = None  # floating-point operations of one call; a multiply-add counts as two
    memory_bytes: int | None = None  # peak memory of the first call, in addition to the weights and arguments
    ms_per_item: float | None = None  # `1000 seconds / batch`
    items_per_s: float | None = None  # `batch / seconds`
    flops_per_s: float | None = None  # `flops / seconds`
    # share_of_matrix_product, share_of_convolution: `flops_per_s` divided by that of the `Limit` in this precision
    share_of_matrix_product: float | None = None
    share_of_convolution: float | None = None


@dataclass(frozen=True)
class NetworksSection:
    """Figures of the networks, and the limits of the machine."""

    limits: tuple[Limit, ...]
    networks: tuple[NetworkFigure, ...]


@dataclass(frozen=True)
class NetworkCall:
    """A network with arguments; `plain` is the network without acceleration, None if it is the same."""

    name: str
    item: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    plain: Callable[..., Any] | None = None


class PlainNetworks:
    """The networks of a bundle without acceleration, loaded on first use."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._networks: dict[str, Any] = {}

    def network(self, role: str) -> Any:
        """Return the network of a role; None if acceleration does not change it."""
        if role not in self._networks:
            plain = self._models.bundle.load_network(role, self._models.device)
            kinds, fast = ([*map(type, network.modules())] for network in (plain, self._models.network(role)))
            self._networks[role] = None if kinds == fast else plain
        return self._networks[role]


def measure_networks(config: BenchConfig) -> NetworksSection:
    """Measure all networks that are used for a video of a person."""
    models = Models(config.run.animation)
    plain = PlainNetworks(models)
    limits: list[Limit] = []
    figures: list[NetworkFigure] = []
    for precision in config.precisions:
        reason = precision_unavailable(models.device, precision)
        own_limits = [] if reason else measure_limits(models.device, precision, for_s=config.case_s)
        limits += own_limits
        measure = partial(
            _measure_call, precision=precision, device=models.device, limits=own_limits, for_s=config.case_s
        )
        for batch in config.batches:
            figures += [
                measure(call, batch, skipped=reason) for call in list_network_calls(models, batch=batch, plain=plain)
            ]

        if config.torch_compile and precision == config.run.animation.precision:
            compiler = find_missing_compiler(models.device)
            missing = reason or (compiler and f"not available: needs {compiler}")
            batch = max(config.batches)
            calls = list_network_calls(models, batch=batch, plain=plain)
            figures += [measure(call, batch, skipped=missing, torch_compile=True) for call in calls]
    return NetworksSection(tuple(limits), tuple(figures))


def _measure_call(
    call: NetworkCall,
    batch: int,
    *,
    precision: Precision,
    device: torch.device,
    limits: Sequence[Limit],
    for_s: float,
    skipped: str | None,
    torch_compile: bool = False,
) -> NetworkFigure:
    case: dict[str, Any] = {"network": call.name, "item": call.item, "batch": batch}
    case |= {"precision": precision, "torch_compile": torch_compile}
    if skipped:
        return NetworkFigure(**case, skipped=skipped)

    function = torch.compile(call.function) if torch_compile else call.function

    def run(form: Callable[..., Any]) -> None:
        with torch.inference_mode(), autocast(device, precision):
            form(*call.arguments)

    functions = {"accelerated": partial(run, function)}
    if call.plain and not torch_compile:
        functions["plain"] = partial(run, call.plain)
    try:
        flops = _count_flops(call, device, precision)
        started = time.perf_counter()
        with PeakMemory(device) as memory:
            functions["accelerated"]()
            synchronize(device)
        first_call_s = time.perf_counter() - started
        if "plain" in functions:
            functions["plain"]()  # warm-up
    except Exception as error:  # from the compiler, or out of memory: keep the other figures
        text = str(error).strip().splitlines()
        return NetworkFigure(**case, skipped=f"{type(error).__name__}: {text[0] if text else 'no reason given'}"[:200])

    timings = time_in_turns(functions, device, for_s=for_s)
    timing, seconds = timings["accelerated"], timings["accelerated"].median_s
    plain_seconds = timings["plain"].median_s if "plain" in timings else None
    limit_of = {limit.computation: limit.flops_per_s for limit in limits}
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
        share_of_matrix_product=flops / seconds / limit_of["matrix_product"],
        share_of_convolution=flops / seconds / limit_of["convolution"],
    )


def _count_flops(call: NetworkCall, device: torch.device, precision: Precision) -> int:
    """Return the floating-point operations of one call of the uncompiled network."""
    attention = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
    with (
        torch.no_grad(),
        autocast(device, precision),
        FlopCounterMode(display=False, custom_mapping=attention) as count,
    ):
        call.function(*call.arguments)
    return count.get_total_flops()


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Count attention on the CPU, which PyTorch counts on GPUs only; arguments are shapes."""
    return sdpa_flop_count(query, key, value)


@torch.no_grad()
def list_network_calls(models: Models, *, batch: int, plain: PlainNetworks | None = None) -> Iterator[NetworkCall]:
    """Yield each network with random arguments of the sizes of a run, on the device of the models."""
    plain_network = plain.network if plain else lambda role: None
    device, size = models.device, models.bundle.switches.input_size
    appearance, warping = models.network("appearance_feature_extractor"), models.network("warping_module")
    pictures = torch.rand(batch, 3, size, size, device=device)
    yield NetworkCall("appearance_feature_extractor", "picture", appearance, (pictures,))
    extractor = "motion_extractor"
    yield NetworkCall(extractor, "picture", models.network(extractor), (pictures,), plain_network(extractor))

    feature = appearance(pictures[:1]).float()
    keypoints = torch.rand(batch, KEYPOINTS, 3, device=device) - 0.5
    posed = (feature, keypoints[:1], keypoints)
    yield NetworkCall("warping_module", "frame", warping, posed, plain_network("warping_module"))
    warped: Tensor = warping(feature, keypoints[:1], keypoints[:1])["out"]
    spade, features = "spade_generator", warped.repeat(batch, 1, 1, 1)
    yield NetworkCall(spade, "frame", models.network(spade), (features,), plain_network(spade))
    if models.bundle.has_role("stitching"):
        pairs = torch.rand(batch, 2 * KEYPOINTS * 3, device=device)
        yield NetworkCall("stitching", "frame", models.network("stitching"), (pairs,))

    generator = models.motion_model
    waveform = torch.randn(batch, generator.sizes.samples_per_window, device=device) / 10
    yield NetworkCall("motion_generator.encode", "window", generator.encode, (waveform,))
    if not isinstance(generator, MotionGenerator):
        return
    sizes = generator.config
    motion = torch.randn(batch, sizes.n_motions, sizes.motion_feat_dim, device=device)
    audio = torch.randn(batch, sizes.n_motions, sizes.feature_dim, device=device)
    prev_motion = torch.randn(batch, sizes.n_prev_motions, sizes.motion_feat_dim, device=device)
    prev_audio = torch.randn(batch, sizes.n_prev_motions, sizes.feature_dim, device=device)
    step = torch.full((batch,), sizes.n_diff_steps, device=device)
    arguments = (motion, audio, prev_motion, prev_audio, step)
    plain_generator = plain_network("motion_generator")
    plain_denoise = plain_generator and plain_generator.denoise
    yield NetworkCall("motion_generator.denoise", "window at one step", generator.denoise, arguments, plain_denoise)
