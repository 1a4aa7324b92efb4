"""The check of a GPU, on a CPU that takes its place."""

import pytest
import torch

from joyvasa.motion.sampling import SamplingConfig
from joyvasa.options import AnimationConfig
from tests.bench import gpu_check
from tests.bench.gpu_check import GpuCheck, TimeBudget, check_gpu

CPU = AnimationConfig(device="cpu", sampling=SamplingConfig(sampler="ddim", steps=2))


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(gpu_check, "BATCHES", (1,))
    monkeypatch.setattr(gpu_check, "PRECISIONS", ("fp32",))
    monkeypatch.setattr(gpu_check, "CASE_S", 0.01)


@pytest.mark.slow
def test_a_device_that_agrees_with_the_cpu_passes_and_every_part_is_measured(short, monkeypatch):
    monkeypatch.setattr(gpu_check, "COMPILE_S", 10_000)  # compiled cases do not fit
    check = check_gpu(CPU, TimeBudget(300), tests=["--version"])
    assert check.failures == []
    assert check.verdict == "passed, 1 cases skipped"
    assert {agreement.network for agreement in check.networks} >= {"warping_module", "motion_generator.denoise"}
    assert all(agreement.error < 1e-4 for agreement in check.networks)
    assert set(check.stage_bytes) == {"portrait", "speech", "motion", "render"}
    eager, compiled = check.rendering
    assert eager.frames_per_s > 0
    assert "it needs up to 10000 s" in compiled.skipped
    assert check.tests["exit_code"] == 0


def test_a_network_that_disagrees_and_a_failing_test_are_in_the_verdict(short, monkeypatch):
    monkeypatch.setattr(gpu_check, "TOLERANCES", {"fp32": -1.0})
    monkeypatch.setattr(gpu_check, "_measure_stages", lambda *_: None)
    monkeypatch.setattr(gpu_check, "_measure_rendering", lambda *_, **__: None)
    check = check_gpu(CPU, TimeBudget(300), tests=["no-such-file.py"])
    assert "warping_module in fp32: error" in check.verdict
    assert "tests: exit code 4" in check.verdict
    assert check.verdict.startswith("failed")


def test_not_finite_results_are_failures():
    error = gpu_check._relative_error(torch.tensor([float("nan")]), torch.ones(1))
    assert not error <= gpu_check.TOLERANCES["bf16"]


def test_an_error_in_one_part_keeps_the_others(short, monkeypatch):
    def fail(*_):
        raise RuntimeError("CUDA error: out of memory\nhints")

    monkeypatch.setattr(gpu_check, "_compare_networks", fail)
    monkeypatch.setattr(gpu_check, "_measure_rendering", lambda check, *_, **__: check.rendering.append("measured"))
    monkeypatch.setattr(gpu_check, "_measure_stages", lambda *_: None)
    check = check_gpu(CPU, TimeBudget(300), tests=[])
    assert check.failures == ["networks: RuntimeError: CUDA error: out of memory"]
    assert check.rendering == ["measured", "measured"]


def test_when_time_is_over_everything_is_skipped_with_the_reason(short):
    now = [0.0]
    budget = TimeBudget(100, clock=lambda: now[0])
    now[0] = 100.0
    check = check_gpu(CPU, budget, tests=["--version"])
    assert check.tests is None
    assert set(check.stage_bytes.values()) == {None}
    assert all("0 s were left" in case.skipped for case in (*check.networks, *check.rendering))
    assert check.failures == []


def test_a_check_without_failures_passes():
    assert GpuCheck({}).verdict == "passed"
