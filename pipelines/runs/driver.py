"""The driver of every run over a manifest: check the rows, create the run folder, process the records.

What differs between kinds of runs (generate, evaluate, prepare) is a `RunDefinition`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import platform
import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Generator, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from joyvasa import __version__
from joyvasa.bundles import open_bundle
from joyvasa.config import config_to_dict
from joyvasa.media.ffmpeg import ffmpeg_executable
from joyvasa.mode import Mode
from joyvasa.options import AnimationConfig
from manifests.manifest import Manifest, open_manifest
from manifests.problems import ManifestError, Problem
from manifests.run.description import ManifestSource, RunDescription, RunKind, require_same_settings
from manifests.run.events import EventLog
from manifests.run.folder import RunCounts, RunFolder
from manifests.run.manifest_file import RunManifest, write_manifest
from manifests.scan import Scan
from manifests.scratch import scratch_folder
from pipelines.engine import loop
from pipelines.engine.events import Event, EventCallback, EventKind
from pipelines.engine.graph import Pipeline
from pipelines.engine.statistics import estimate_run, parse_statistics
from pipelines.runs.config import RunConfig, build_option_columns
from pipelines.runs.outcomes import OutcomeBuilder, build_outcome, metric_columns
from pipelines.runs.resources import build_executor, count_run_gpus
from pipelines.runs.shard_writer import ShardWriter

LOGGED_PROGRESS_S = 30.0  # longest time between two progress lines in events.jsonl; each has about 4 kB
FIRST_LOGGED_S = 2.0  # shortest time, at the start of a run
LOGGED_SHARE = 0.02  # of the elapsed time, in between
SHOWN_PROBLEMS = 3  # number of bad rows that the error message quotes


@dataclass(frozen=True)
class RunResult:
    """The result of a run."""

    folder: str  # run folder; an absolute path or URI
    counts: RunCounts  # number of records by status
    statistics: dict[str, Any]  # `RunStatistics.as_dict` of this part of the run
    product: Any = None  # return value of `RunDefinition.finish`
    already_finished: bool = False  # whether every record had its outcome before, so that nothing was started

    @property
    def all_ok(self) -> bool:
        """Whether every record has status `ok`."""
        return self.counts.statuses.get("ok", 0) == self.counts.records


class RunDefinition(ABC):
    """One kind of run: which rows it reads, which weights and stages it uses, which outcomes it writes.

    Attributes:
        kind: name of the kind in `run.yaml`.
        reads_videos: whether rows contain finished videos; otherwise they contain portraits and sound or motion.
        files: names of files and folders that this kind of run writes besides those of `RunFolder`.
    """

    kind: ClassVar[RunKind]
    reads_videos: ClassVar[bool]
    files: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def hash_weights(self, config: RunConfig, modes: Collection[Mode]) -> dict[str, Any]:
        """Hash the weights that determine the results; fail if they are missing or not licensed.

        Raises:
            JoyvasaError: weights are missing or refused, or this kind of run does not support the rows.
        """

    @abstractmethod
    def build_pipeline(self, config: RunConfig, run: str, rows: ManifestSource, *, gpus: int) -> Pipeline:
        """Build the stages."""

    def build_outcomes(self, config: RunConfig, modes: Iterable[Mode]) -> OutcomeBuilder:
        """Return the function that builds outcome rows."""
        return lambda finished, pipeline: build_outcome(finished, pipeline=pipeline)

    def finish(self, folder: RunFolder, manifest: RunManifest, config: RunConfig) -> Any:  # noqa: B027 (optional)
        """Complete the run folder once every record has an outcome; called again after a resume."""


@dataclass(frozen=True)
class Run:
    """A run over a manifest, from its checked rows to its result."""

    definition: RunDefinition  # kind of the run
    folder: RunFolder
    config: RunConfig  # options of the run, with absolute paths
    description: RunDescription  # content of `run.yaml`

    @cached_property
    def pipeline(self) -> Pipeline:
        """Stages of the run, on the GPUs that it can use."""
        run, gpus = self.folder.storage.root, count_run_gpus(self.config)
        return self.definition.build_pipeline(self.config, run, self.description.manifest, gpus=gpus)

    def process_records(
        self, on_event: EventCallback | None, *, is_resumed: bool = False, retry: Collection[str] = ()
    ) -> RunResult:
        """Process all records without an outcome, under the lock of the run folder.

        Args:
            on_event: callback for every event.
            is_resumed: whether the run was started before; then the files with its media must be unchanged.
            retry: what to run again, see `RunFolder.reopen_shard`.

        Raises:
            ManifestError: `source_missing` or `source_changed`, and others for files that cannot be used.
            JoyvasaError: the run stopped.
        """
        pipeline = self.pipeline  # fails for invalid options, before anything is written
        manifest = self.folder.read_manifest()
        build_row = self.definition.build_outcomes(self.config, self.description.manifest.modes)
        with self.folder.lock() as lock, EventLog(self.folder.storage) as log:
            for number in self.folder.list_started_shards() if retry else ():
                self.folder.reopen_shard(number, retry)
                lock.renew()
            if is_resumed:
                manifest.require_unchanged_media({*range(len(manifest))} - self.folder.read_done_markers().keys())
            writer = ShardWriter(
                self.folder,
                manifest,
                run_seed=self.config.animation.seed,
                run_fingerprint=self.description.fingerprint(),
                stages=pipeline.outputs,
                metrics=metric_columns(self.config),
                columns=pipeline.columns,
            )
            logged_at = 0.0

            def handle_event(event: Event) -> None:
                nonlocal logged_at
                lock.renew()
                now = time.monotonic()
                is_progress = event.kind is EventKind.PROGRESS
                if is_progress:
                    writer.flush_if_due()
                    event = dataclasses.replace(event, data=_with_estimate(event.data, writer.remaining))
                due_s = min(LOGGED_PROGRESS_S, max(FIRST_LOGGED_S, LOGGED_SHARE * event.data.get("elapsed_s", 0.0)))
                if not is_progress or now - logged_at >= due_s:
                    log.write(event.kind.value, stage=event.stage, **event.data)
                    logged_at = now if is_progress else logged_at
                if on_event:
                    on_event(event)

            try:
                statistics = loop.run_pipeline(
                    pipeline,
                    writer.records(),
                    lambda finished: writer.record_outcome(finished.record, build_row(finished, pipeline)),
                    executor=build_executor(self.config, pipeline),
                    config=self.config.engine,
                    on_event=handle_event,
                )
            except BaseException:
                with contextlib.suppress(ManifestError):  # a full disk must not hide the original error
                    writer.flush()
                raise
            counts = self.folder.count_records(manifest)

        product = self.definition.finish(self.folder, manifest, self.config)
        return RunResult(self.folder.storage.root, counts, statistics.as_dict(), product)


@contextlib.contextmanager
def plan_run(
    definition: RunDefinition, folder: RunFolder, manifest: str | Path, config: RunConfig, *, name: str = ""
) -> Generator[tuple[Run, Path]]:
    """Check rows, weights and options of a run, without writing anything.

    The run is yielded with a temporary file of its rows, a valid manifest, which exists until the block ends.

    Args:
        definition: kind of the run.
        folder: run folder that contains no run yet, or this one.
        manifest: Parquet, CSV or JSON Lines file, or a folder of these; a path or URI.
        config: options of the run, with absolute paths.
        name: name of the system that generated the videos; empty if this run generates them.

    Raises:
        InputError: `condition_invalid` or `column_unknown` in `where`.
        ManifestError: bad rows (`manifest_rows`), `output_exists` if the folder has other files that the run would
            replace, or `run_changed` if it contains another run.
        JoyvasaError: missing models, no usable ffmpeg, or invalid options.
    """
    ffmpeg_executable()  # before any work: the workers need it
    folder.require_free(definition.files)
    source = open_manifest(manifest)
    with _check_rows(source, config, videos=definition.reads_videos) as (rows, manifest_source):
        description = RunDescription(
            configuration=config_to_dict(config),
            manifest=manifest_source,
            bundles=definition.hash_weights(config, manifest_source.modes),
            versions={"joyvasa": __version__, "python": platform.python_version()},
            kind=definition.kind,
            name=name,
        )
        run = Run(definition, folder, config, description)
        _ = run.pipeline  # fails for invalid options
        if folder.storage.exists(RunFolder.RUN):
            require_same_settings(folder.read_description(), description)
        yield run, rows


def start_run(
    definition: RunDefinition,
    folder: RunFolder,
    manifest: str | Path,
    config: RunConfig,
    *,
    name: str = "",
    on_event: EventCallback | None = None,
) -> RunResult:
    """Create a run in a folder that contains none yet and process all records; arguments as in `plan_run`.

    Raises:
        ManifestError: `run_exists` if the folder contains this run, `run_locked`, `output_unwritable`.
        JoyvasaError: see `plan_run`, or the run stopped.
    """
    folder.storage.require_writable()
    with plan_run(definition, folder, manifest, config, name=name) as (run, rows):
        folder.create(run.description, rows)
    return run.process_records(on_event)


@contextlib.contextmanager
def _check_rows(source: Manifest, config: RunConfig, *, videos: bool) -> Generator[tuple[Path, ManifestSource]]:
    """Check all rows and copy them to a temporary file; yield the file and its description."""
    problems: list[Problem] = []
    models = config.animation.models
    options = None if videos else build_option_columns(config.animation, open_bundle(models))
    scan = Scan(source, videos=videos, options=options, voices=config.voices)
    with scratch_folder() as scratch:
        rows = scratch / RunFolder.MANIFEST
        summary = write_manifest(
            scan,
            rows,
            shard_size=config.shard_size,
            where=config.where,
            limit=config.limit,
            on_problem=lambda p: problems.append(p) if len(problems) < SHOWN_PROBLEMS else None,
        )

        if summary.bad_rows and not config.skip_bad_rows:
            shown = "; ".join(f"{p.row_place if len(source.files) == 1 else p.place}: {p.text}" for p in problems)
            command = ["joyvasa", "validate"]
            if videos:
                command += ["--videos"]
            if not videos and models != AnimationConfig.models:
                command += ["--models", models]
            if not videos and config.tts:
                command += ["--set", f"tts={config.tts}"]
            raise ManifestError(
                "manifest_rows",
                f"{source.uri}: {summary.bad_rows} of {summary.rows} rows are bad ({shown}): "
                f"see {shlex.join(command)}, or run the others with --set skip_bad_rows=true",
            )
        yield rows, ManifestSource.from_scan(source, rows, summary)


def _with_estimate(data: Mapping[str, Any], records: int) -> dict[str, Any]:
    """Add the number of records of this part of the run, and `Estimate.as_dict`, to the data of a progress event."""
    statistics = parse_statistics(data)
    assert statistics is not None, "progress events hold statistics"
    return {**data, "records": records, "estimate": dataclasses.asdict(estimate_run(statistics, records))}
