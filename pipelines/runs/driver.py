"""The driver of every run over a manifest: create the run folder, describe the run, execute it, resume it.

What differs between kinds of runs (generate, evaluate, prepare) is a `RunDefinition`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import platform
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from joyvasa import __version__
from joyvasa.bundles import bundle_names
from joyvasa.config import config_from, plain
from joyvasa.mode import Mode
from manifests.errors import ManifestError
from manifests.manifest import Manifest, open_manifest
from manifests.problems import Problem
from manifests.run.description import ManifestSource, RunDescription, RunKind, require_same_settings
from manifests.run.events import EventLog
from manifests.run.folder import RunCounts, RunFolder
from manifests.run.manifest_file import RunManifest, write_manifest
from manifests.run.outcome import RecordOutcome
from manifests.scan import Scan
from manifests.scratch import scratch_folder
from pipelines.engine import loop
from pipelines.engine.events import Event, EventKind, EventCallback
from pipelines.engine.graph import Pipeline
from pipelines.engine.tasks import FinishedRecord
from pipelines.runs.config import RunConfig
from pipelines.runs.metrics import metric_columns
from pipelines.runs.outcomes import build_outcome
from pipelines.runs.resources import build_executor, count_gpus
from pipelines.runs.shard_writer import ShardWriter

LOGGED_PROGRESS_S = 30.0  # between two progress lines in events.jsonl; each has about 3 kB
SHOWN_PROBLEMS = 3  # of a refused manifest

OutcomeBuilder: TypeAlias = Callable[[FinishedRecord, Pipeline], RecordOutcome]
"""Build the outcome row of a record that has left the pipeline."""


@dataclass(frozen=True)
class RunResult:
    """The result of a run.

    Attributes:
        folder: run folder; an absolute path or URI.
        counts: records by status.
        statistics: statistics of this part of the run, `RunStatistics.as_dict`.
        product: what `RunDefinition.finish` returned.
    """

    folder: str
    counts: RunCounts
    statistics: dict[str, Any]
    product: Any = None

    @property
    def all_ok(self) -> bool:
        """Whether every record has status `ok`."""
        return self.counts.statuses.get("ok", 0) == self.counts.records


class RunDefinition(ABC):
    """One kind of run: which rows it reads, which weights and stages it uses, what it writes about a record.

    Attributes:
        kind: name of the kind in `run.yaml`.
        reads_videos: whether rows bring finished videos; otherwise they bring portraits and sound or motion.
    """

    kind: ClassVar[RunKind]
    reads_videos: ClassVar[bool]

    @abstractmethod
    def hash_weights(self, config: RunConfig, modes: Sequence[Mode]) -> dict[str, Any]:
        """Hash the weights that decide the results; fail if they are missing or not licensed.

        Args:
            config: every option.
            modes: modes of the rows.

        Raises:
            JoyvasaError: missing or refused weights, or rows that this kind of run cannot use.
        """

    @abstractmethod
    def build_pipeline(self, config: RunConfig, run: str, modes: Sequence[Mode], *, gpus: int) -> Pipeline:
        """Build the stages.

        Args:
            config: every option.
            run: run folder; an absolute path or URI.
            modes: modes of the rows.
            gpus: number of GPUs to use.
        """

    def build_outcomes(self, config: RunConfig, modes: Sequence[Mode]) -> OutcomeBuilder:
        """Return the function that builds outcome rows."""
        return lambda finished, pipeline: build_outcome(finished, pipeline=pipeline)

    def finish(self, folder: RunFolder, manifest: RunManifest, config: RunConfig) -> Any:  # noqa: B027 (most kinds need nothing)
        """Complete the run folder once every record has an outcome; may run again after a resume."""


def start_run(
    definition: RunDefinition,
    folder: RunFolder,
    manifest: str | Path,
    config: RunConfig,
    *,
    name: str = "",
    listener: EventCallback | None = None,
) -> RunResult:
    """Create a run folder and execute the run.

    Args:
        definition: kind of the run.
        folder: run folder that holds no run yet.
        manifest: Parquet, CSV or JSON Lines, or a folder of these; a path or URI.
        config: every option, with absolute paths.
        name: name of the system whose videos these are; empty for generated ones.
        listener: called with every event.

    Raises:
        ManifestError: bad rows (`manifest_rows`), `run_exists`, `run_changed`, `run_locked`, `output_unwritable`.
        JoyvasaError: missing models, or the run stopped.
    """
    source = open_manifest(manifest)
    with checked_rows(source, config, videos=definition.reads_videos) as (rows, described):
        hashes = definition.hash_weights(config, described.modes)
        description = describe_run(config, described, hashes, definition, name)
        # Refuses bad options before anything is written.
        pipeline = _build_pipeline(definition, folder, config, description)
        create_run_folder(folder, description, rows)
    return execute_run(definition, folder, description, config, pipeline, listener)


def resume_run(
    definition: RunDefinition,
    folder: RunFolder,
    description: RunDescription,
    *,
    retry: Collection[str] = (),
    listener: EventCallback | None = None,
) -> RunResult:
    """Resume a run that did not finish.

    Args:
        definition: kind of the run.
        folder: run folder.
        description: content of its `run.yaml`.
        retry: statuses of finished records to run again: `failed`, `quarantined`.
        listener: called with every event.

    Raises:
        ManifestError: `run_changed` if the models differ from those of the run, `run_unreadable`, `run_locked`.
        JoyvasaError: missing models, or the run stopped.
    """
    config = config_from(RunConfig, description.configuration)
    hashes = definition.hash_weights(config, description.manifest.modes)
    require_same_settings(description, dataclasses.replace(description, bundles=hashes))
    pipeline = _build_pipeline(definition, folder, config, description)
    return execute_run(definition, folder, description, config, pipeline, listener, retry=retry)


def execute_run(
    definition: RunDefinition,
    folder: RunFolder,
    description: RunDescription,
    config: RunConfig,
    pipeline: Pipeline,
    listener: EventCallback | None,
    *,
    retry: Collection[str] = (),
) -> RunResult:
    """Process all records without an outcome, under the lock of the run folder.

    Args:
        definition: kind of the run.
        folder: run folder.
        description: content of `run.yaml`.
        config: every option.
        pipeline: stages of the run.
        listener: called with every event.
        retry: statuses of finished records to run again.
    """
    manifest = folder.read_manifest()
    build_row = definition.build_outcomes(config, description.manifest.modes)
    with folder.lock() as lock, EventLog(folder.storage) as log:
        if retry:
            for number in folder.started_shards():
                folder.reopen_shard(number, retry)
        writer = ShardWriter(
            folder,
            manifest,
            run_seed=config.animation.seed,
            run_fingerprint=description.fingerprint(),
            stages=pipeline.outputs,
            metrics=metric_columns(config),
            columns=pipeline.columns,
        )
        logged = 0.0

        def on_event(event: Event) -> None:
            nonlocal logged
            lock.renew()
            now = time.monotonic()
            progress = event.kind is EventKind.PROGRESS
            if progress:
                writer.flush_if_due()
                # The engine does not know how many there are.
                event = dataclasses.replace(event, data={**event.data, "records": writer.remaining})
            if not progress or now - logged >= LOGGED_PROGRESS_S:
                log.write(event.kind.value, stage=event.stage, **event.data)
                logged = now if progress else logged
            if listener:
                listener(event)

        def on_finished(finished: FinishedRecord) -> None:
            writer.record_outcome(finished.record, build_row(finished, pipeline))

        try:
            statistics = loop.run(
                pipeline,
                writer.records(),
                on_finished,
                executor=build_executor(config, pipeline),
                config=config.engine,
                on_event=on_event,
            )
        except BaseException:
            with contextlib.suppress(ManifestError):  # a full disk must not hide the reason
                writer.flush()
            raise
        counts = folder.count_records(manifest)
    product = definition.finish(folder, manifest, config)
    return RunResult(folder.storage.root, counts, statistics.as_dict(), product)


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """Replace paths of model folders by absolute ones, so that workers and a resume find them from anywhere."""
    animation = dataclasses.replace(config.animation, models=_absolute(config.animation.models))
    return dataclasses.replace(config, animation=animation, metric_models=_absolute(config.metric_models))


def _absolute(models: str) -> str:
    return models if models in bundle_names() else str(Path(models).expanduser().resolve())


@contextlib.contextmanager
def checked_rows(
    source: Manifest, config: RunConfig, *, videos: bool = False
) -> Generator[tuple[Path, ManifestSource]]:
    """Check all rows of a manifest and copy them into a temporary file; with `skip_bad_rows`, bad rows are left out.

    Args:
        source: manifest.
        config: every option.
        videos: whether rows bring finished videos.

    Yields:
        The file, which is removed when the block ends, and the description of its rows.

    Raises:
        ManifestError: `manifest_rows` if rows are bad and may not be skipped, or the manifest cannot be read.
    """
    problems: list[Problem] = []
    scan = Scan(source, videos=videos)
    with scratch_folder() as scratch:
        rows = scratch / RunFolder.MANIFEST
        write_manifest(
            scan,
            rows,
            shard_size=config.shard_size,
            on_problem=lambda p: problems.append(p) if len(problems) < SHOWN_PROBLEMS else None,
        )
        if scan.summary.bad_rows and not config.skip_bad_rows:
            shown = "; ".join(f"row {problem.row}: {problem.text}" for problem in problems)
            raise ManifestError(
                "manifest_rows",
                f"{source.uri}: {scan.summary.bad_rows} of {scan.summary.rows} rows are bad ({shown}): "
                f"see joyvasa validate{' --videos' if videos else ''}, or run the others with --set skip_bad_rows=true",
            )
        yield rows, ManifestSource.of(source, rows, scan.summary)


def describe_run(
    config: RunConfig, source: ManifestSource, hashes: Mapping[str, Any], definition: RunDefinition, name: str
) -> RunDescription:
    """Return the content of `run.yaml` for a new run."""
    versions = {"joyvasa": __version__, "python": platform.python_version()}
    return RunDescription(
        configuration=plain(config),
        manifest=source,
        bundles=hashes,
        versions=versions,
        kind=definition.kind,
        name=name,
    )


def create_run_folder(folder: RunFolder, description: RunDescription, rows: Path) -> None:
    """Create the folder of a run.

    Raises:
        ManifestError: `run_exists` if the folder holds this run, `run_changed` if it holds another one.
    """
    if folder.storage.exists(RunFolder.RUN):
        require_same_settings(folder.read_description(), description)
    folder.create(description, rows)


def _build_pipeline(
    definition: RunDefinition, folder: RunFolder, config: RunConfig, description: RunDescription
) -> Pipeline:
    modes = description.manifest.modes
    return definition.build_pipeline(config, folder.storage.root, modes, gpus=count_gpus(config))
