"""Compare this engine with Ray Data: the same stages, the same records, the same machine.

`python -m tests.bench.ray_data` prints the figures as JSON; `--help` lists its options.
"""

from __future__ import annotations

import argparse
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

from joyvasa.config import dump_config, load_config
from joyvasa.errors import EnvironmentFault
from manifests.record import Record
from manifests.run.outcome import Status
from pipelines.bench.chain import build_pipeline
from pipelines.bench.inputs import make_records
from pipelines.bench.passage import pass_through, scratch
from pipelines.bench.seeded import write_seeded_bundle
from pipelines.engine import loop as engine
from pipelines.engine.tasks import Finished
from pipelines.runs.config import RunConfig, StageOptions
from pipelines.runs.driver import with_absolute_paths
from pipelines.runs.resources import build_executor
from tests.bench.ray_data_job import Job, write_rows

FAULT_BUNDLE = "random"  # what is lost does not depend on what the networks have learned
FAULT_RECORDS, FAULT_SOUND_S = 16, 0.4
FAULT_BATCH = 4  # of all stages: Ray Data joins blocks to the largest batch above, and loses all of that
PATIENCE_S = 120.0  # and twice the time without a fault: after that a job counts as one that does not end
DRIVER_PATIENCE_S = 600.0  # for each part of a run whose driver dies
_POLL_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """The whole chain with both, in turns.

    Attributes:
        records: of each round.
        ours_s, ray_data_s: from warm actors to the last record, each round.
        ours_records_per_s, ray_data_records_per_s: `records` over the medians.
        ratio: ours over Ray Data's.
    """

    records: int
    ours_s: tuple[float, ...]
    ray_data_s: tuple[float, ...]
    ours_records_per_s: float
    ray_data_records_per_s: float
    ratio: float


@dataclass(frozen=True, kw_only=True)
class FaultFigure:
    """What one fault costs.

    Attributes:
        fault: `raises` (one record, in the render stage), `kills` (the process, likewise), `driver` (it is killed when
            half of the videos are there, and started again).
        system: `joyvasa` or `ray_data`; Ray Data with `max_errored_blocks=-1`, and with its checkpoints for `driver`.
        records: of the job, the culprit included.
        finished: that passed all stages.
        lost: neither finished nor the culprit.
        culprit_named: whether the result says which record it was; None for `driver`.
        made_twice: videos that were there when the driver died and were made again; None for the others.
        ended: whether the job came to a good end by itself.
        reason: what it said last where it did not.
        seconds: until then, or until it was given up; with the start of Ray.
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
    """Both side by side; all is None but the reason where Ray Data cannot be had."""

    unavailable: str | None = None
    throughput: Throughput | None = None
    faults: tuple[FaultFigure, ...] | None = None


def measure_ray_data(run: RunConfig, *, records: int, sound_s: float, rounds: int) -> RayDataSection:
    """Measure throughput with the chosen bundle, and faults with small random networks.

    Args:
        run: options of the run.
        records: number of records of each round of the throughput measurement.
        sound_s: seconds of sound of each of these records.
        rounds: number of rounds in which both systems take turns.
    """
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        return RayDataSection(f"not available: needs {error.name} (pip install 'ray[data]')")
    with scratch() as folder:
        media = make_records(folder / "media", records, sound_s)
        return RayDataSection(None, _throughput(run, media, rounds, folder / "speed"), _faults(run, folder / "faults"))


def _throughput(run: RunConfig, records: Sequence[Record], rounds: int, folder: Path) -> Throughput:
    run = replace(run, executor="ray")
    ours_s, theirs_s = [], []
    for number in range(rounds):
        place = folder / f"ours-{number}"
        pipeline = build_pipeline(run, place / "run")
        ours_s.append(pass_through(pipeline, records, build_executor(run, pipeline), place).elapsed_s)
        job = Job(config=run, records=records, folder=folder / f"theirs-{number}")
        write_rows(job, pipeline.by_name["render"].batch_size)
        _wait(_start(job), job, limit_s=None)
        ready_at = max(file.stat().st_mtime for file in job.folder.glob("notes-*/*.ready"))
        finished = _finished(job)
        if len(finished) != len(records):
            raise EnvironmentFault(
                "bench_record_failed", f"Ray Data: {len(finished)} of {len(records)} records came through; see above"
            )
        theirs_s.append(max(finished.values()) - ready_at)
    ours, theirs = (len(records) / statistics.median(times) for times in (ours_s, theirs_s))
    return Throughput(
        records=len(records),
        ours_s=tuple(ours_s),
        ray_data_s=tuple(theirs_s),
        ours_records_per_s=ours,
        ray_data_records_per_s=theirs,
        ratio=ours / theirs,
    )


def _faults(run: RunConfig, folder: Path) -> tuple[FaultFigure, ...]:
    records = make_records(folder / "media", FAULT_RECORDS, FAULT_SOUND_S)
    animation = replace(run.animation, models=FAULT_BUNDLE, precision="fp32")
    run = replace(run, animation=animation, executor="ray", metrics="none")
    names = [spec.name for spec in build_pipeline(run, folder / "run").stages]
    stages = {name: replace(run.stages.get(name, StageOptions()), batch_size=FAULT_BATCH) for name in names}
    run = replace(run, stages=stages)
    base = Job(config=run, records=records, folder=folder, culprit=records[len(records) // 2].id)
    figures, calm_s = [], 0.0
    for fault in ("raises", "kills"):
        ours = _ours(replace(base, fault=fault, folder=folder / f"{fault}-ours"))
        figures.append(ours)
        calm_s = max(calm_s, ours.seconds)
        theirs = replace(base, fault=fault, folder=folder / f"{fault}-theirs")
        figures.append(_theirs(theirs, PATIENCE_S + 2 * calm_s))
    figures.append(_our_driver(replace(base, folder=folder / "driver-ours")))
    figures.append(_their_driver(replace(base, checkpoint=True, folder=folder / "driver-theirs")))
    return tuple(figures)


def _ours(job: Job) -> FaultFigure:
    done: list[Finished] = []
    pipeline = job.pipeline()
    started = time.perf_counter()
    engine.run(pipeline, job.records, done.append, executor=build_executor(job.config, pipeline))
    bad = [one.record.id for one in done if one.status is not Status.OK]
    finished = {one.record.id for one in done if one.status is Status.OK}
    return _figure(job, "joyvasa", finished, started, named=bad == [job.culprit], ended=True)


def _theirs(job: Job, limit_s: float) -> FaultFigure:
    pipeline = job.pipeline()
    write_rows(job, pipeline.by_name["render"].batch_size)
    started = time.perf_counter()
    ended = _wait(_start(job), job, limit_s=limit_s)
    return _figure(job, "ray_data", set(_finished(job)), started, named=False, ended=ended)


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
        reason=None if ended else _last_words(job),
        seconds=time.perf_counter() - started,
    )


def _our_driver(job: Job) -> FaultFigure:
    job.folder.mkdir(parents=True)
    manifest, options, run = job.folder / "pairs.csv", job.folder / "options.yaml", job.folder / "run"
    rows = [f"{record.id},{record.image},{record.audio}\n" for record in job.records]
    manifest.write_text("record_id,image,audio\n" + "".join(rows), encoding="utf-8")
    options.write_text(dump_config(job.config), encoding="utf-8")
    first = _command(job, "generate", str(manifest), "--out", str(run), "--config", str(options))
    return _killed_driver(job, "joyvasa", first, lambda: _command(job, "resume", str(run)))


def _their_driver(job: Job) -> FaultFigure:
    write_rows(job, job.pipeline().by_name["render"].batch_size)
    return _killed_driver(job, "ray_data", _start(job), lambda: _start(job))


def _killed_driver(
    job: Job, system: str, process: subprocess.Popen[bytes], again: Callable[[], subprocess.Popen[bytes]]
) -> FaultFigure:
    """Kills the first process half-way and lets a second one go on."""
    started = time.perf_counter()
    half = len(job.records) // 2
    while process.poll() is None and len(_videos(job)) < half and time.perf_counter() - started < DRIVER_PATIENCE_S:
        time.sleep(_POLL_S)
    _kill(process)
    before = _videos(job)
    ended = _wait(again(), job, limit_s=DRIVER_PATIENCE_S)
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
        reason=None if ended else _last_words(job),
        seconds=time.perf_counter() - started,
    )


def _videos(job: Job) -> dict[str, int]:
    """Finished videos and when they were made."""
    return {path.stem: path.stat().st_mtime_ns for path in (job.folder / "run").glob("shards/*/videos/*.mp4")}


def _finished(job: Job) -> dict[str, float]:
    """Records that passed all stages, and when."""
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
    """Whether the process came to a good end by itself.

    Raises:
        EnvironmentFault: it failed, and no limit says that this was to be expected.
    """
    try:
        process.wait(limit_s)
    except subprocess.TimeoutExpired:
        _kill(process)
        return False
    if process.returncode and limit_s is None:
        raise EnvironmentFault("bench_job_failed", f"Ray Data: {_last_words(job)}; expected the job to end well")
    return process.returncode == 0


def _last_words(job: Job) -> str:
    text = (job.folder / "log.txt").read_text(encoding="utf-8", errors="replace")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()  # without colours
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "nothing")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """At once, with the Ray that it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def main() -> None:
    """Measure with the options of the command line and print the figures as JSON."""
    parser = argparse.ArgumentParser(description="Compare this engine with Ray Data.")
    parser.add_argument("--models", help="model bundle (default: the published sizes with seeded weights)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one option of generate")
    parser.add_argument("--quick", action="store_true", help="measure less of everything: for a slow machine")
    given = parser.parse_args()
    records, sound_s, rounds = (4, 0.4, 1) if given.quick else (16, 4.0, 3)
    with scratch() as folder:
        if given.models is None:
            write_seeded_bundle(folder / "published-sizes")
        models = json.dumps(given.models or str(folder / "published-sizes"))
        run = with_absolute_paths(load_config(RunConfig, settings=[*given.set, f"animation.models={models}"]))
        section = measure_ray_data(run, records=records, sound_s=sound_s, rounds=rounds)
    print(json.dumps(asdict(section), indent=2))


if __name__ == "__main__":
    main()
