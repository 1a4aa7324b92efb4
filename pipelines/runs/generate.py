"""A manifest becomes a run folder of videos; what was begun is resumed."""

from __future__ import annotations

import contextlib
import dataclasses
import platform
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joyvasa import __version__
from joyvasa.bundles import Bundle, bundle_names, open_bundle
from joyvasa.config import config_from, plain
from joyvasa.errors import ConfigError
from joyvasa.mode import Mode
from joyvasa.models import MOTION_ROLES, require_models, roles_in_use
from manifests.errors import ManifestError
from manifests.manifest import Manifest, open_manifest
from manifests.plan import Plan, make_plan
from manifests.problems import Problem
from manifests.run.description import ManifestSource, RunDescription, refuse_differences
from manifests.run.events import EventLog
from manifests.run.folder import RunCounts, RunFolder
from manifests.run.outcome import Outcome
from manifests.scan import Scan
from manifests.storage import open_storage
from pipelines.engine import executors
from pipelines.engine import loop as engine
from pipelines.engine.events import Event, EventKind, Listener
from pipelines.engine.executors.base import Executor
from pipelines.engine.graph import Pipeline
from pipelines.engine.tasks import Finished
from pipelines.runs.config import RunConfig
from pipelines.runs.metrics import metric_columns, metric_hashes
from pipelines.runs.outcomes import Weights, outcome_of
from pipelines.runs.resources import cpus_to_offer
from pipelines.runs.shard_writer import Ledger
from pipelines.runs.video_pipeline import animation_of, video_pipeline

LOGGED_PROGRESS_S = 30.0  # between two progress lines in events.jsonl; each has about 3 kB
SHOWN_PROBLEMS = 3  # of a refused manifest


@dataclass(frozen=True)
class RunResult:
    """What a run came to."""

    folder: str
    counts: RunCounts
    statistics: dict[str, Any]  # of this part of the run, `RunStatistics.as_dict`

    @property
    def all_ok(self) -> bool:
        """Whether every record has its video."""
        return self.counts.statuses.get("ok", 0) == self.counts.records


def generate(
    manifest: str | Path, out: str | Path, config: RunConfig | None = None, *, listener: Listener | None = None
) -> RunResult:
    """Makes a video for each row of a manifest.

    Args:
        manifest: Parquet, CSV or JSON Lines, or a folder of these; a path or URI.
        out: the run folder, which must not hold a run yet; a path or URI.
        config: every option.
        listener: hears what happens.

    Raises:
        ManifestError: bad rows (`manifest_rows`), `run_exists`, `run_changed`, `run_locked`, `output_unwritable`.
        JoyvasaError: missing models, a run that was stopped.
    """
    config = located(config or RunConfig())
    bundle = open_bundle(config.animation.models)
    bundle.require(MOTION_ROLES)  # before a long manifest is read: any mode needs them
    folder = RunFolder(open_storage(str(out)))
    source = open_manifest(manifest)
    plan, found = checked_plan(source, config)
    description = described(config, found, _hashes(config, bundle, found.modes))
    pipeline = _pipeline(folder, config, description)  # refuses bad options before anything is written
    begin(folder, description, plan)
    return drive(folder, source, plan, description, config, pipeline, _outcomes(config, bundle, description), listener)


def resume(run: str | Path, *, retry: Collection[str] = (), listener: Listener | None = None) -> RunResult:
    """Goes on with a run that did not finish.

    Args:
        run: the run folder.
        retry: statuses of finished records to run again: `failed`, `quarantined`.
        listener: hears what happens.

    Raises:
        ManifestError: `run_missing`, `run_changed` if the manifest or the models are not those of the run,
            `run_locked`.
        JoyvasaError: as `generate`.
    """
    folder = RunFolder(open_storage(str(run)))
    description, plan = folder.description(), folder.plan()
    config = config_from(RunConfig, description.configuration)
    if description.kind == "evaluate":
        from pipelines.runs.evaluate import go_on

        return go_on(folder, description, plan, config, listener, retry=retry)
    if description.kind == "prepare":
        from pipelines.runs.prepare import go_on

        return go_on(folder, description, plan, config, listener, retry=retry)
    bundle = open_bundle(config.animation.models)
    source = unchanged_source(description, _hashes(config, bundle, description.manifest.modes))
    pipeline = _pipeline(folder, config, description)
    outcome = _outcomes(config, bundle, description)
    return drive(folder, source, plan, description, config, pipeline, outcome, listener, retry=retry)


def begin(folder: RunFolder, description: RunDescription, plan: Plan) -> None:
    """Makes the folder of a run.

    Raises:
        ManifestError: `run_changed` or `run_exists` where it holds another run, or this one.
    """
    if folder.storage.exists(RunFolder.RUN):
        refuse_differences(folder.description(), description)
    folder.create(description, plan)


def unchanged_source(description: RunDescription, hashes: dict[str, Any]) -> Manifest:
    """The manifest of a run that was begun.

    Args:
        description: of the run.
        hashes: of the weights that it would use now.

    Raises:
        ManifestError: `run_changed` if the manifest or the weights are not those of the run.
    """
    source = open_manifest(description.manifest.uri)
    now = dataclasses.replace(description.manifest, fingerprint=source.fingerprint())
    refuse_differences(description, dataclasses.replace(description, manifest=now, bundles=hashes))
    return source


def located(config: RunConfig) -> RunConfig:
    """Folders of models by their absolute paths, so that resume and workers find them from anywhere."""
    animation = dataclasses.replace(config.animation, models=_absolute(config.animation.models))
    return dataclasses.replace(config, animation=animation, metric_models=_absolute(config.metric_models))


def _absolute(models: str) -> str:
    return models if models in bundle_names() else str(Path(models).expanduser().resolve())


def checked_plan(source: Manifest, config: RunConfig, *, videos: bool = False) -> tuple[Plan, ManifestSource]:
    """The shards of a manifest, none of whose rows is bad, or whose bad rows may be left out.

    Args:
        source: the manifest.
        config: every option.
        videos: rows bring videos to be measured; else pairs to be animated.

    Raises:
        ManifestError: `manifest_rows`, or the manifest as a whole cannot be read.
    """
    problems: list[Problem] = []
    scan = Scan(source, videos=videos)
    plan = make_plan(
        scan,
        shard_size=config.shard_size,
        on_problem=lambda p: problems.append(p) if len(problems) < SHOWN_PROBLEMS else None,
    )
    if scan.summary.bad_rows and not config.skip_bad_rows:
        shown = "; ".join(f"row {problem.row}: {problem.sentence}" for problem in problems)
        raise ManifestError(
            "manifest_rows",
            f"{source.uri}: {scan.summary.bad_rows} of {scan.summary.rows} rows are bad ({shown}): "
            f"see joyvasa validate{' --videos' if videos else ''}, or run the others with --set skip_bad_rows=true",
        )
    return plan, ManifestSource.of(source, plan, scan.summary)


def described(config: RunConfig, source: ManifestSource, hashes: Mapping[str, Any], **more: Any) -> RunDescription:
    """What `run.yaml` says of a run that begins now; `more` are further fields of it."""
    versions = {"joyvasa": __version__, "python": platform.python_version()}
    return RunDescription(configuration=plain(config), manifest=source, bundles=hashes, versions=versions, **more)


def _hashes(config: RunConfig, bundle: Bundle, modes: Sequence[Mode]) -> dict[str, Any]:
    """Of the weights for these modes, which must be there and be allowed."""
    used: set[str] = set()
    for mode in modes:
        animation = animation_of(config, mode)
        require_models(animation, bundle)
        used |= {*roles_in_use(animation, bundle)}
    return {bundle.name: bundle.fingerprint(used), **metric_hashes(config)}


def drive(
    folder: RunFolder,
    source: Manifest,
    plan: Plan,
    description: RunDescription,
    config: RunConfig,
    pipeline: Pipeline,
    outcome: Callable[[Finished, Pipeline], Outcome],
    listener: Listener | None,
    *,
    retry: Collection[str] = (),
) -> RunResult:
    """Does what is left to do in a run folder that was begun.

    Args:
        folder: of the run.
        source: its manifest.
        plan: its shards.
        description: content of its `run.yaml`.
        config: its options.
        pipeline: its stages.
        outcome: makes the outcome row of a record that has left the pipeline.
        listener: hears what happens.
        retry: statuses of finished records to run again.
    """
    with folder.lock() as lock, EventLog(folder.storage) as log:
        if retry:
            for number in folder.begun_shards():
                folder.reopen_shard(number, retry)
        ledger = Ledger(
            folder,
            source,
            plan,
            run_seed=config.animation.seed,
            run_fingerprint=description.fingerprint(),
            stages=pipeline.outputs,
            metrics=metric_columns(config),
        )

        logged = 0.0

        def hear(event: Event) -> None:
            nonlocal logged
            lock.renew()
            now = time.monotonic()
            progress = event.kind is EventKind.PROGRESS
            if progress:
                ledger.save_due()
                # The engine does not know how many there are.
                event = dataclasses.replace(event, data={**event.data, "records": ledger.remaining})
            if not progress or now - logged >= LOGGED_PROGRESS_S:
                log.write(event.kind.value, stage=event.stage, **event.data)
                logged = now if progress else logged
            if listener:
                listener(event)

        def take(finished: Finished) -> None:
            ledger.take(finished.record, outcome(finished, pipeline))

        try:
            statistics = engine.run(
                pipeline,
                ledger.records(),
                take,
                executor=executor_of(config, pipeline),
                listener=hear,
            )
        except BaseException:
            with contextlib.suppress(ManifestError):  # a full disk must not hide the reason
                ledger.save()
            raise
        return RunResult(folder.storage.root, folder.counts(plan), statistics.as_dict())


def _outcomes(
    config: RunConfig, bundle: Bundle, description: RunDescription
) -> Callable[[Finished, Pipeline], Outcome]:
    weights = {mode: Weights.of(config, bundle, mode) for mode in description.manifest.modes}
    metrics = metric_columns(config)
    return lambda finished, pipeline: outcome_of(finished, pipeline=pipeline, weights=weights, metrics=metrics)


def _pipeline(folder: RunFolder, config: RunConfig, description: RunDescription) -> Pipeline:
    return video_pipeline(config, folder.storage.root, description.manifest.modes, gpus=gpus_of(config))


def gpus_of(config: RunConfig) -> int:
    """GPUs that a run works on.

    Raises:
        ConfigError: `gpus_unknown` for a cluster that has none now; it may be about to grow.
    """
    if config.ray.gpus is not None:
        return config.ray.gpus
    found = executors.count_gpus(config.executor, config.ray.address)
    if not found and config.executor == "ray" and config.ray.address:
        raise ConfigError(
            "gpus_unknown",
            f"{config.ray.address}: the cluster has no GPU now; expected some: give ray.gpus, the number that it will "
            "have, or ray.gpus=0 to work on CPUs",
        )
    return found


def executor_of(config: RunConfig, pipeline: Pipeline) -> Executor:
    """What runs the workers of a pipeline, as the options want it."""
    if config.executor == "local":
        return executors.make("local")
    options = dataclasses.asdict(config.ray)
    gpus = options.pop("gpus")
    if config.ray.address is None:
        options |= {"num_cpus": cpus_to_offer(pipeline), "num_gpus": gpus}
    return executors.make("ray", **options)
