"""Check a GPU within eight minutes: tests, networks against the CPU, speed, memory; `make gpu-check`.

Writes one JSON file and prints a verdict. Whatever does not fit into the time is listed as skipped.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from joyvasa.errors import JoyvasaError
from joyvasa.models import Models
from joyvasa.options import AnimationConfig
from joyvasa.runtime.device import Precision, autocast, choose_device
from manifests.scratch import scratch_folder
from pipelines.bench.inputs import make_records, run_stage, set_up, write_seeded_bundle
from pipelines.bench.machine import describe_machine, precision_unavailable
from pipelines.bench.networks import list_network_calls
from pipelines.bench.timing import PeakMemory, synchronize, time_function
from stages.base import Item
from stages.config import StageConfig
from stages.motion import MotionConfig, MotionStage
from stages.portrait import PortraitStage
from stages.render import RenderConfig, RenderStage
from stages.speech import SpeechStage

ROOT = Path(__file__).parents[2]
LIMIT_S = 460.0  # of all measurements; the process itself needs some seconds
TESTS_S = 150.0  # of the tests
CASE_S = 2.0  # of one case, after its first call
COMPILE_S = 90.0  # time that a compiled case may need for its first call
BATCHES = (1, 8, 32)
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
# Largest error of a network relative to the largest value of its result on the CPU in float32. In float32, cuDNN rounds
# the inputs of convolutions to the 10 bits of TF32.
TOLERANCES: dict[Precision, float] = {"fp32": 5e-3, "bf16": 0.1, "fp16": 0.03}


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Agreement of one network with the CPU.

    Attributes:
        network: name of the network.
        precision: precision on the device.
        error: largest difference to the CPU in float32, relative to the largest value there; None if skipped.
        ok: whether the error is within the tolerance; None if skipped.
        skipped: reason why it was skipped.
    """

    network: str
    precision: Precision
    error: float | None = None
    ok: bool | None = None
    skipped: str | None = None


@dataclass(frozen=True, kw_only=True)
class RenderFigure:
    """Speed of warping and generator.

    Attributes:
        batch: frames per call.
        precision: precision.
        torch_compile: whether the networks are compiled.
        frames_per_s: rate; None if skipped.
        first_call_s: time of the first call, with compilation.
        memory_bytes: peak memory in addition to the weights.
        skipped: reason why it was skipped.
    """

    batch: int
    precision: Precision
    torch_compile: bool
    frames_per_s: float | None = None
    first_call_s: float | None = None
    memory_bytes: int | None = None
    skipped: str | None = None


@dataclass
class GpuCheck:
    """Results of a check.

    Attributes:
        machine: description of the machine.
        tests: last lines of the output of the tests, and their exit code; None if skipped.
        networks: agreement of the networks with the CPU.
        rendering: speed of rendering.
        stage_bytes: peak memory of each stage, with its weights.
        failures: sentences about everything that is wrong; empty if the check passed.
        elapsed_s: time of the check.
    """

    machine: dict[str, Any]
    tests: dict[str, Any] | None = None
    networks: list[Agreement] = field(default_factory=list)
    rendering: list[RenderFigure] = field(default_factory=list)
    stage_bytes: dict[str, int | None] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    elapsed_s: float = 0.0

    @property
    def verdict(self) -> str:
        """One line that says whether the check passed."""
        skipped = sum(case.skipped is not None for case in (*self.networks, *self.rendering))
        left_out = f", {skipped} cases skipped" if skipped else ""
        return f"{'failed: ' + '; '.join(self.failures) if self.failures else 'passed'}{left_out}"


class TimeBudget:
    """The time that is left.

    Args:
        limit_s: total time in seconds.
        clock: function that returns the time in seconds.
    """

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._started, self._limit_s = clock, clock(), limit_s

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started

    def left_s(self) -> float:
        """Return the seconds that are left."""
        return self._limit_s - self.elapsed_s

    def reason_to_skip(self, needed_s: float) -> str | None:
        """Return why something that needs this time is skipped; None if the time suffices."""
        left = self.left_s()
        return None if left >= needed_s else f"{max(0.0, left):.0f} s were left; it needs up to {needed_s:.0f} s"


def check_gpu(animation: AnimationConfig, budget: TimeBudget, *, tests: Sequence[str]) -> GpuCheck:
    """Check the device of a configuration; an error in one part does not end the others.

    Args:
        animation: configuration with the device and the bundle.
        budget: time for all parts.
        tests: arguments of pytest; empty to run no tests.
    """
    device = choose_device(animation.device)
    check = GpuCheck(dataclasses.asdict(describe_machine(device)))
    parts: dict[str, Callable[[], None]] = {
        "networks": lambda: _compare_networks(check, animation, device, budget),
        "memory of stages": lambda: _measure_stages(check, animation, device, budget),
        "rendering": lambda: _measure_rendering(check, animation, device, budget, torch_compile=False),
        "tests": lambda: _run_tests(check, budget, tests),
        "compiled rendering": lambda: _measure_rendering(check, animation, device, budget, torch_compile=True),
    }
    for name, run in parts.items():
        print(f"{budget.elapsed_s:5.0f} s: {name}", file=sys.stderr)
        try:
            run()
        except Exception as error:
            check.failures.append(f"{name}: {_first_line(error)}")
        if device.type == "cuda":
            torch.cuda.empty_cache()
    check.elapsed_s = budget.elapsed_s
    return check


def _run_tests(check: GpuCheck, budget: TimeBudget, arguments: Sequence[str]) -> None:
    limit_s = min(TESTS_S, budget.left_s() - 30)
    if not arguments or limit_s < 10:
        return
    command = [sys.executable, "-m", "pytest", "-q", *arguments]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        check.failures.append(f"tests: not finished within {limit_s:.0f} s")
        return
    check.tests = {"exit_code": done.returncode, "output": done.stdout.splitlines()[-20:]}
    if done.returncode:
        check.failures.append(f"tests: exit code {done.returncode}: {(done.stdout.splitlines() or ['no output'])[-1]}")


def _compare_networks(check: GpuCheck, animation: AnimationConfig, device: torch.device, budget: TimeBudget) -> None:
    """Call every network with the same arguments on the CPU and on the device."""
    cpu, other = (Models(dataclasses.replace(animation, device=place)) for place in ("cpu", str(device)))
    for on_cpu, on_device in zip(_seeded_calls(cpu), _seeded_calls(other), strict=True):
        if reason := budget.reason_to_skip(20):
            check.networks.append(Agreement(network=on_cpu.name, precision="fp32", skipped=reason))
            continue
        with torch.inference_mode():
            expected = _tensors(on_cpu.function(*on_cpu.arguments))
            # The arguments of the CPU, as random numbers of a device differ.
            arguments = [value.to(device) if isinstance(value, Tensor) else value for value in on_cpu.arguments]
            for precision in PRECISIONS:
                case = {"network": on_cpu.name, "precision": precision}
                if reason := precision_unavailable(device, precision):
                    check.networks.append(Agreement(**case, skipped=reason))
                    continue
                with autocast(device, precision):
                    actual = _tensors(on_device.function(*arguments))
                error = max(_relative_error(a, b) for a, b in zip(actual, expected, strict=True))
                ok = error <= TOLERANCES[precision]  # false for NaN
                check.networks.append(Agreement(**case, error=error, ok=ok))
                if not ok:
                    limit = TOLERANCES[precision]
                    check.failures.append(f"{on_cpu.name} in {precision}: error {error:.2g}, expected at most {limit}")


def _seeded_calls(models: Models) -> list[Any]:
    torch.manual_seed(0)
    return [*list_network_calls(models, batch=2)]


def _tensors(result: Any) -> list[Tensor]:
    values = result.values() if isinstance(result, dict) else result if isinstance(result, tuple | list) else [result]
    return [value.float().cpu() for value in values if isinstance(value, Tensor)]


def _relative_error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).abs().max() / expected.abs().max().clamp(min=1e-6))


def _measure_rendering(
    check: GpuCheck, animation: AnimationConfig, device: torch.device, budget: TimeBudget, *, torch_compile: bool
) -> None:
    for precision in PRECISIONS:
        config = dataclasses.replace(animation, precision=precision, torch_compile=torch_compile)
        models: Models | None = None
        for batch in BATCHES:
            case: dict[str, Any] = {"batch": batch, "precision": precision, "torch_compile": torch_compile}
            reason = precision_unavailable(device, precision)
            reason = reason or budget.reason_to_skip(COMPILE_S if torch_compile else 4 * CASE_S)
            if reason:
                check.rendering.append(RenderFigure(**case, skipped=reason))
                continue
            try:
                models = models or Models(config)
                check.rendering.append(_measure_render(models, case))
            except Exception as error:  # the compiler is missing, or the batch does not fit: keep the other figures
                check.rendering.append(RenderFigure(**case, skipped=_first_line(error)))


def _measure_render(models: Models, case: dict[str, Any]) -> RenderFigure:
    device, size = models.device, models.bundle.switches.input_size
    torch.manual_seed(0)
    with torch.inference_mode():
        feature = models.network("appearance_feature_extractor")(torch.rand(1, 3, size, size, device=device)).float()
    source = torch.rand(1, 21, 3, device=device) - 0.5
    driving = source + 0.02 * torch.randn(case["batch"], 21, 3, device=device)

    def render() -> None:
        with autocast(device, case["precision"]):
            models.renderer.render(feature, source, driving)

    _ = models.renderer
    started = time.perf_counter()
    with PeakMemory(device) as memory:
        render()
        synchronize(device)
    first_call_s = time.perf_counter() - started
    seconds = time_function(render, device, for_s=CASE_S).median_s
    rate = case["batch"] / seconds
    return RenderFigure(**case, frames_per_s=rate, first_call_s=first_call_s, memory_bytes=memory.n_bytes)


def _measure_stages(check: GpuCheck, animation: AnimationConfig, device: torch.device, budget: TimeBudget) -> None:
    """Run each stage on two records, and measure the memory of its weights and of its batch."""
    with scratch_folder() as folder:
        records = make_records(folder / "media", 2, 1.0)
        stages = {
            "portrait": lambda: PortraitStage(StageConfig(animation=animation)),
            "speech": lambda: SpeechStage(StageConfig(animation=animation)),
            "motion": lambda: MotionStage(MotionConfig(animation=animation)),
            "render": lambda: RenderStage(RenderConfig(animation=animation, run=str(folder / "run"))),
        }
        inputs: dict[str, list[Any]] = {}
        for name, create in stages.items():
            if budget.reason_to_skip(30):
                check.stage_bytes[name] = None
                continue
            needed = {"motion": ("speech",), "render": ("portrait", "motion")}.get(name, ())
            batch = [Item(record, {key: inputs[key][at] for key in needed}) for at, record in enumerate(records)]
            with PeakMemory(device) as memory:
                inputs[name] = run_stage(set_up(create()), batch)
            check.stage_bytes[name] = memory.n_bytes


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"[:200]


def main() -> None:
    """Check with the options of the command line; exit code 1 if the check fails or there is no GPU."""
    parser = argparse.ArgumentParser(description="Check a GPU within eight minutes.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--models", help="model bundle (default: the published sizes with seeded weights)")
    parser.add_argument("--out", type=Path, default=Path("gpu-check.json"))
    options = parser.parse_args()

    budget = TimeBudget(LIMIT_S)
    with scratch_folder() as folder:
        if options.models is None:
            write_seeded_bundle(folder / "published-sizes")
        animation = AnimationConfig(models=options.models or str(folder / "published-sizes"), device=options.device)
        try:
            check = check_gpu(animation, budget, tests=["-m", "gpu", "-p", "no:cacheprovider"])
        except JoyvasaError as error:  # there is no such device
            sys.exit(f"error: {error}")
    document = dataclasses.asdict(check) | {"verdict": check.verdict}
    options.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    for figure in check.rendering:
        speed = figure.skipped or f"{figure.frames_per_s:.1f} frames/s"
        compiled = ", compiled" if figure.torch_compile else ""
        print(f"render {figure.precision}, batch {figure.batch}{compiled}: {speed}")
    for name, n_bytes in check.stage_bytes.items():
        print(f"{name}: {'skipped' if n_bytes is None else f'{n_bytes / 2**20:,.0f} MiB'}")
    print(f"{check.verdict}; {check.elapsed_s:.0f} s; {options.out}")
    sys.exit(1 if check.failures else 0)


if __name__ == "__main__":
    main()
