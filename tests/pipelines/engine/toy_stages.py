"""Stages without models, for tests of the engine."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from joyvasa.errors import InputError
from manifests.record import Record
from pipelines.engine.config import EngineConfig
from pipelines.engine.graph import Pipeline, StageSpec
from pipelines.engine.loop import run_pipeline
from stages.base import Failed, FailureKind, Item, Ok, Outcome, Stage
from stages.failures import classify_exception

QUICK = EngineConfig(io_backoff_s=0.01, verdict_s=0.1)


class Nothing(Stage):
    """Do nothing."""

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        return [Ok() for _ in batch]


class Draw(Stage):
    """Add a random number, seeded by the record, to the sum of the inputs; optionally log each run to a folder."""

    def __init__(self, name: str, log: Path | None = None, seconds: float = 0.0, n_bytes: int = 0) -> None:
        self.name, self.log, self.seconds, self.n_bytes = name, log, seconds, n_bytes

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        wait(self.seconds)
        return [self._process(item) for item in batch]

    def _process(self, item: Item) -> Outcome:
        if self.log:
            note(self.log / self.name, item.record.id)
        before = sum(sorted(item.inputs.values()))
        value = before + random.Random(f"{self.name} {item.record.seed}").random()
        facts = {"value": value, "windows": item.record.seed % 3}
        if self.n_bytes:
            facts["bytes"] = self.n_bytes
        return Ok(value, facts)


class Slow(Stage):
    """Report the progress of a batch of 1000 frames per record, and finish it when a file exists."""

    unit = "frame"

    def __init__(self, seen: Path) -> None:
        self.seen = seen

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        for step in range(1, 1000):
            self.report_progress(step / 1000, step * len(batch))
            if self.seen.exists():
                break
            wait(0.1)
        return [Ok(facts={"frames": 1000}) for _ in batch]


class Shared(Stage):
    """Return a result that depends only on the `image` of the row."""

    def __init__(self, log: Path, n_bytes: int = 0) -> None:
        self.log, self.n_bytes = log, n_bytes

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        return [self._process(item.record.image) for item in batch]

    def _process(self, portrait: str) -> Outcome:
        note(self.log / "shared", portrait)
        if portrait.startswith("bad"):
            return Failed(FailureKind.BAD_INPUT, "image_unreadable", f"{portrait}: no picture")
        return Ok(float(len(portrait)), {"bytes": self.n_bytes})


class Big(Stage):
    """Return 2 MB per record, and check the inputs."""

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        for item in batch:
            for array in item.inputs.values():
                assert array[0] == item.record.seed
        return [Ok(np.full(1 << 18, item.record.seed, np.float64), {"bytes": 1 << 21}) for item in batch]


class Trouble(Stage):
    """Cause the failure named by `motion` of the record; `log` counts the runs of each record."""

    def __init__(self, log: Path, memory_bytes: int | None = None) -> None:
        self.log, self.memory_bytes = log, memory_bytes

    def setup(self) -> None:
        if self.memory_bytes:
            import resource

            size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            resource.setrlimit(resource.RLIMIT_AS, (size + self.memory_bytes, size + self.memory_bytes))

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        return [self._process(item, alone=len(batch) == 1) for item in batch]

    def _process(self, item: Item, *, alone: bool) -> Outcome:
        trouble = item.record.motion
        runs = note(self.log / "trouble", item.record.id)
        match trouble:
            case "exit":
                os._exit(3)
            case "sys_exit":
                sys.exit(0)
            case "segv":
                os.kill(os.getpid(), signal.SIGSEGV) if sys.platform == "darwin" else ctypes.string_at(0)
            case "kill_once":
                if runs == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
            case "hang":
                wait(3600.0)
            case "memory":
                return Ok(float(bytearray(1 << 30)[-1]))
            case "out_of_memory_in_company":
                if not alone:
                    return Failed(FailureKind.OUT_OF_MEMORY, "out_of_memory", "too many at once")
            case "out_of_memory":
                return Failed(FailureKind.OUT_OF_MEMORY, "out_of_memory", "too large")
            case "raise":
                raise ValueError("never seen before")
            case "raise_once":
                if runs == 1:
                    raise ValueError("only once")
            case "bad_input":
                return Failed(FailureKind.BAD_INPUT, "audio_unreadable", "no sound")
            case "raise_bad_input":
                raise InputError("audio_unreadable", "no sound")
            case "nan":
                return Failed(FailureKind.POISON, "not_finite", "motion has values that are not numbers")
            case "io_twice":
                if runs <= 2:
                    return Failed(FailureKind.IO, "storage", "no answer")
            case "io":
                return Failed(FailureKind.IO, "storage", "no answer")
            case "disk_full":
                raise OSError(28, "No space left on device")
            case "contract":
                return None  # type: ignore[return-value]
        return Ok(float(item.record.seed))


class Gpu(Stage):
    """Simulate a GPU that fails at some records, after which every call in the process fails; `log` lists these."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        broken = self.log / f"broken-{os.getpid()}"
        if note(broken, "run") > 1 and "failed" in read_notes(broken):
            note(broken, "again")
            raise RuntimeError("CUDA error: device-side assert triggered")
        return [self._process(item, broken) for item in batch]

    def _process(self, item: Item, broken: Path) -> Outcome:
        trouble = item.record.motion
        runs = note(self.log / "gpu", item.record.id)
        if trouble is None or (trouble == "once" and runs > 1):
            return Ok(float(item.record.seed))
        note(broken, "failed")
        error: Exception = RuntimeError(f"CUDA error: {trouble}")
        match trouble:
            case "wrapped":
                raise InputError("face_unreadable", "no face") from error
            case "outcome":
                return classify_exception(error)
            case "assert":
                import torch

                error = torch.AcceleratorError("CUDA error: device-side assert triggered")
        raise error


class BrokenSetup(Stage):
    """Fail in `setup`."""

    def setup(self) -> None:
        raise FileNotFoundError("weights.safetensors: no such file")

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        raise AssertionError


def note(file: Path, text: str) -> int:
    """Append a line to a file that several processes write; return the number of equal lines."""
    with file.open("a") as stream:
        stream.write(f"{text}\n")
    return read_notes(file).count(text)


def read_notes(file: Path) -> list[str]:
    """Return all lines of the file."""
    return file.read_text().splitlines() if file.exists() else []


def wait(seconds: float) -> None:
    """Sleep, if there is any time to sleep."""
    if seconds:
        time.sleep(seconds)


def records(n: int, *, image: dict[int, str] | None = None, trouble: dict[int, str] | None = None) -> list[Record]:
    """Return records r0, r1, ...; `image` by number of the record, and in `motion` the failure to cause."""
    return [Record(id=f"r{i}", image=(image or {}).get(i), motion=(trouble or {}).get(i), seed=i) for i in range(n)]


def finish(pipeline, rows, executor, config=QUICK, on_event=None):
    """Run all records and return them by id, with the statistics; fail if one is finished twice."""
    finished = {}

    def on_finished(record):
        assert record.record.id not in finished
        finished[record.record.id] = record

    return finished, run_pipeline(pipeline, rows, on_finished, executor=executor, config=config, on_event=on_event)


def single_stage(stage, **options):
    return Pipeline((StageSpec(name="only", stage=stage, **options),))


def diamond(stage: type[Stage] | None = None, **options: object) -> Pipeline:
    """Return the pipeline portrait and speech -> motion -> render -> commit."""

    def spec(name: str, *inputs: str) -> StageSpec:
        stage_object = stage() if stage else Draw(name)
        return StageSpec(name=name, stage=stage_object, inputs=inputs, **{"num_cpus": 0.1, **options})  # type: ignore[arg-type]

    return Pipeline(
        (
            spec("portrait"),
            spec("speech"),
            spec("motion", "speech"),
            spec("render", "portrait", "motion"),
            spec("commit", "render"),
        )
    )


def number_rows(n):
    return (Record(id=f"record-{i:06d}", image=f"{i}.jpg", seed=i) for i in range(n))
