"""Compare this engine with Ray Data: the same stages, the same records, the same machine.

`python -m tests.bench.ray_data` prints the figures as JSON; `--help` lists its options.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from joyvasa.config import dump_config
from joyvasa.errors import EnvironmentFault
from manifests.record import Record
from manifests.run.outcome import Status
from manifests.scratch import scratch_folder
from pipelines.bench.chain import build_pipeline
from pipelines.bench.inputs import make_records
from pipelines.bench.timed_run import run_once
from pipelines.engine import loop as engine
from pipelines.engine.tasks import FinishedRecord
from pipelines.runs.config import RunConfig, StageOptions
from pipelines.runs.resources import build_executor
from tests.bench.command import command_line_run
from tests.bench.ray_data_job import Job, write_rows

FAULT_BUNDLE = "random"  # losses do not depend on the weights
FAULT_RECORDS, FAULT_SOUND_S = 16, 0.4
FAULT_BATCH = 4  # batch size of all stages: Ray Data merges blocks up to the largest batch size, and loses all of it
LIMIT_S = 120.0  # plus twice the time of this engine: a job that takes longer counts as one that does not end
DRIVER_LIMIT_S = 600.0  # for each part of a run whose driver dies
_POLL_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Throughput of the whole chain with both systems, in turns.

    Attributes:
        records: number of records per round.
        ours_s, ray_data_s: time of each round, from ready actors to the last record.
        ours_records_per_s, ray_data_records_per_s: `records` divided by the median times.
        ratio: our rate divided by that of Ray Data.
    """

    records: int
    ours_s: tuple[float, ...]
    ray_data_s: tuple[float, ...]
    ours_records_per_s: float
    ray_data_records_per_s: float
    ratio: float


@dataclass(frozen=True, kw_only=True)
class FaultFigure:
    """Losses from one fault.

    Attributes:
        fault: `raises` (one record raises in the render stage), `kills` (it kills the worker process), `driver` (the
            driver is killed when half of the videos exist, and started again).
        system: `joyvasa` or `ray_data`; Ray Data with `max_errored_blocks=-1`, and with its checkpoints for `driver`.
        records: number of records of the job, including the culprit.
        finished: number of records that passed all stages.
        lost: number of records that neither finished nor are the culprit.
        culprit_named: whether the result names the culprit; None for `driver`.
        made_twice: number of videos that existed when the driver died and were rendered again; None for other faults.
        ended: whether the job ended successfully by itself.
        reason: last line of its output if it did not.
        seconds: time until the end or the time limit, including the start of Ray.
    """

    fault: str
    system: str
    records: int
    finished: int
    lost: int
    culprit_named: bool | None
    made_twice: int | None
    ended: bool
    reason: str | None
    seconds: float


@dataclass(frozen=True)
class RayDataSection:
    """Figures of both systems; only `unavailable`, the reason, is set if Ray Data is not installed."""

    unavailable: str | None = None
    throughput: Throughput | None = None
    faults: tuple[FaultFigure, ...] | None = None


def measure_ray_data(run: RunConfig, *, records: int, sound_s: float, rounds: int) -> RayDataSection:
    """Measure throughput with the selected bundle, and faults with small random networks.

    Args:
        run: options of the run.
        records: number of records per round of the throughput measurement.
        sound_s: seconds of sound of each of these records.
        rounds: number of rounds in which both systems take turns.
    """
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        return RayDataSection(f"not available: needs {error.name} (pip install 'ray[data]')")
    with scratch_folder() as folder:
        media = make_records(folder / "media", records, sound_s)
        return RayDataSection(None, _throughput(run, media, rounds, folder / "speed"), _faults(run, folder / "faults"))


def _throughput(run: RunConfig, records: Sequence[Record], rounds: int, folder: Path) -> Throughput:
    run = replace(run, executor="ray")
    ours_s, theirs_s = [], []
    for number in range(rounds):
        ours = folder / f"ours-{number}"
        pipeline = build_pipeline(run, ours / "run")
        ours_s.append(run_once(pipeline, records, build_executor(run, pipeline), ours).elapsed_s)

        job = Job(config=run, records=records, folder=folder / f"theirs-{number}")
        write_rows(job, pipeline.by_name["render"].batch_size)
        _wait(_start(job), job, limit_s=None)
        ready_at = max(file.stat().st_mtime for file in job.folder.glob("log-*/*.ready"))
        finished_at = _read_finished(job)
        if len(finished_at) != len(records):
            raise EnvironmentFault(
                "bench_record_failed", f"Ray Data: {len(finished_at)} of {len(records)} records finished; see above"
            )
        theirs_s.append(max(finished_at.values()) - ready_at)

    our_rate, their_rate = (len(records) / statistics.median(times) for times in (ours_s, theirs_s))
    return Throughput(
        records=len(records),
        ours_s=tuple(ours_s),
        ray_data_s=tuple(theirs_s),
        ours_records_per_s=our_rate,
        ray_data_records_per_s=their_rate,
        ratio=our_rate / their_rate,
    )


def _faults(run: RunConfig, folder: Path) -> tuple[FaultFigure, ...]:
    records = make_records(folder / "media", FAULT_RECORDS, FAULT_SOUND_S)
    animation = replace(run.animation, models=FAULT_BUNDLE, precision="fp32")
    run = replace(run, animation=animation, executor="ray", metrics="none")
    names = [spec.name for spec in build_pipeline(run, folder / "run").stages]
    stages = {name: replace(run.stages.get(name, StageOptions()), batch_size=FAULT_BATCH) for name in names}
    run = replace(run, stages=stages)

    base = Job(config=run, records=records, folder=folder, culprit=records[len(records) // 2].id)
    figures, ours_s = [], 0.0
    for fault in ("raises", "kills"):
        ours = _run_ours(replace(base, fault=fault, folder=folder / f"{fault}-ours"))
        figures.append(ours)
        ours_s = max(ours_s, ours.seconds)
        theirs = replace(base, fault=fault, folder=folder / f"{fault}-theirs")
        figures.append(_run_theirs(theirs, LIMIT_S + 2 * ours_s))
    figures.append(_kill_our_driver(replace(base, folder=folder / "driver-ours")))
    figures.append(_kill_their_driver(replace(base, checkpoint=True, folder=folder / "driver-theirs")))
    return tuple(figures)


def _run_ours(job: Job) -> FaultFigure:
    done: list[FinishedRecord] = []
    pipeline = job.pipeline()
    started = time.perf_counter()
    engine.run_pipeline(pipeline, job.records, done.append, executor=build_executor(job.config, pipeline))
    failed = [result.record.id for result in done if result.status is not Status.OK]
    finished = {result.record.id for result in done if result.status is Status.OK}
    return _figure(job, "joyvasa", finished, started, named=failed == [job.culprit], ended=True)


def _run_theirs(job: Job, limit_s: float) -> FaultFigure:
    pipeline = job.pipeline()
    write_rows(job, pipeline.by_name["render"].batch_size)
    started = time.perf_counter()
    ended = _wait(_start(job), job, limit_s=limit_s)
    return _figure(job, "ray_data", set(_read_finished(job)), started, named=False, ended=ended)


def _figure(job: Job, system: str, finished: set[str], started: float, *, named: bool, ended: bool) -> FaultFigure:
    return FaultFigure(
        fault=job.fault,
        system=system,
        records=len(job.records),
        finished=len(finished),
        lost=len({record.id for record in job.records} - finished - {job.culprit}),
        culprit_named=named,
        made_twice=None,
        ended=ended,
        reason=None if ended else _last_line(job),
        seconds=time.perf_counter() - started,
    )


def _kill_our_driver(job: Job) -> FaultFigure:
    job.folder.mkdir(parents=True)
    manifest, options, run = job.folder / "pairs.csv", job.folder / "options.yaml", job.folder / "run"
    rows = [f"{record.id},{record.image},{record.audio}\n" for record in job.records]
    manifest.write_text("record_id,image,audio\n" + "".join(rows), encoding="utf-8")
    options.write_text(dump_config(job.config), encoding="utf-8")
    first = _command(job, "generate", str(manifest), "--out", str(run), "--config", str(options))
    return _kill_driver(job, "joyvasa", first, lambda: _command(job, "resume", str(run)))


def _kill_their_driver(job: Job) -> FaultFigure:
    write_rows(job, job.pipeline().by_name["render"].batch_size)
    return _kill_driver(job, "ray_data", _start(job), lambda: _start(job))


def _kill_driver(
    job: Job, system: str, process: subprocess.Popen[bytes], again: Callable[[], subprocess.Popen[bytes]]
) -> FaultFigure:
    """Kill the first process half-way and let a second one resume."""
    started = time.perf_counter()
    half = len(job.records) // 2
    while process.poll() is None and len(_videos(job)) < half and time.perf_counter() - started < DRIVER_LIMIT_S:
        time.sleep(_POLL_S)
    _kill(process)

    before = _videos(job)
    ended = _wait(again(), job, limit_s=DRIVER_LIMIT_S)
    after = _videos(job)
    return FaultFigure(
        fault="driver",
        system=system,
        records=len(job.records),
        finished=len(after),
        lost=len(job.records) - len(after),
        culprit_named=None,
        made_twice=sum(after.get(name) != made_at for name, made_at in before.items()),
        ended=ended,
        reason=None if ended else _last_line(job),
        seconds=time.perf_counter() - started,
    )


def _videos(job: Job) -> dict[str, int]:
    """Return the modification time of each finished video, by record id."""
    return {path.stem: path.stat().st_mtime_ns for path in (job.folder / "run").glob("shards/*/videos/*.mp4")}


def _read_finished(job: Job) -> dict[str, float]:
    """Return the time at which each record passed the last stage, by record id."""
    lines = job.finished.read_text(encoding="utf-8").splitlines() if job.finished.exists() else []
    return {name: float(at) for name, at in (line.split() for line in lines)}


def _start(job: Job) -> subprocess.Popen[bytes]:
    file = job.folder / "job.pickle"
    file.write_bytes(pickle.dumps(job))
    return _process(job, [sys.executable, "-m", "tests.bench.ray_data_job", str(file)])


def _command(job: Job, *arguments: str) -> subprocess.Popen[bytes]:
    return _process(job, [sys.executable, "-c", "from pipelines.cli.main import main; main()", *arguments])


def _process(job: Job, command: list[str]) -> subprocess.Popen[bytes]:
    with (job.folder / "log.txt").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)


def _wait(process: subprocess.Popen[bytes], job: Job, *, limit_s: float | None) -> bool:
    """Wait for a process and return whether it ended successfully by itself.

    Raises:
        EnvironmentFault: it failed although there is no time limit.
    """
    try:
        process.wait(limit_s)
    except subprocess.TimeoutExpired:
        _kill(process)
        return False
    if process.returncode and limit_s is None:
        raise EnvironmentFault("bench_job_failed", f"Ray Data: {_last_line(job)}; expected the job to succeed")
    return process.returncode == 0


def _last_line(job: Job) -> str:
    text = (job.folder / "log.txt").read_text(encoding="utf-8", errors="replace")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()  # without colors
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "nothing")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process together with the Ray processes that it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def main() -> None:
    """Measure with the options of the command line and print the figures as JSON."""
    with command_line_run("Compare this engine with Ray Data.") as (run, quick):
        records, sound_s, rounds = (4, 0.4, 1) if quick else (16, 4.0, 3)
        section = measure_ray_data(run, records=records, sound_s=sound_s, rounds=rounds)
    print(json.dumps(asdict(section), indent=2))


if __name__ == "__main__":
    main()
