"""A manifest becomes a run folder of videos; what was begun is resumed."""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joyvasa import __version__
from joyvasa.bundles import Bundle, bundle_names, open_bundle
from joyvasa.config import config_from, plain
from manifests.errors import ManifestError
from manifests.events import EventLog
from manifests.manifest import Manifest, open_manifest
from manifests.plan import Plan, make_plan
from manifests.problems import Problem
from manifests.run_file import ManifestSource, RunDescription, refuse_differences
from manifests.run_folder import RunCounts, RunFolder
from manifests.scan import Scan
from manifests.storage import open_storage
from pipelines import engine, executors
from pipelines.events import Event, EventKind, Listener
from pipelines.executors.base import Executor
from pipelines.graph import Pipeline
from pipelines.ledger import Ledger
from pipelines.run_config import RunConfig
from pipelines.sizing import cpus_to_offer
from pipelines.video_pipeline import outcome_of, roles, video_pipeline
from pipelines.works import Finished

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
    config = _located(config or RunConfig())
    bundle = open_bundle(config.animation.models)
    bundle.require(roles(config, bundle))
    folder = RunFolder(open_storage(str(out)))
    pipeline = _pipeline(folder, config)  # refuses bad options before anything is written
    source = open_manifest(manifest)
    plan, description = _plan(source, config, bundle)
    if folder.storage.exists(RunFolder.RUN):
        refuse_differences(folder.description(), description)
    folder.create(description, plan)
    return _drive(folder, source, plan, description, config, bundle, pipeline, listener)


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
    bundle = open_bundle(config.animation.models)
    bundle.require(roles(config, bundle))
    source = open_manifest(description.manifest.uri)
    now = dataclasses.replace(description.manifest, fingerprint=source.fingerprint())
    refuse_differences(description, dataclasses.replace(description, manifest=now, bundles=_hashes(config, bundle)))
    pipeline = _pipeline(folder, config)
    return _drive(folder, source, plan, description, config, bundle, pipeline, listener, retry=retry)


def _located(config: RunConfig) -> RunConfig:
    """A folder of models by its absolute path, so that resume and workers find it from anywhere."""
    models = config.animation.models
    if models in bundle_names():
        return config
    models = str(Path(models).expanduser().resolve())
    return dataclasses.replace(config, animation=dataclasses.replace(config.animation, models=models))


def _plan(source: Manifest, config: RunConfig, bundle: Bundle) -> tuple[Plan, RunDescription]:
    problems: list[Problem] = []
    scan = Scan(source)
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
            "see joyvasa validate, or run the others with --set skip_bad_rows=true",
        )
    description = RunDescription(
        configuration=plain(config),
        manifest=ManifestSource.of(source, plan, scan.summary.rows),
        bundles=_hashes(config, bundle),
        versions={"joyvasa": __version__, "python": platform.python_version()},
    )
    return plan, description


def _hashes(config: RunConfig, bundle: Bundle) -> dict[str, Any]:
    return {bundle.name: bundle.fingerprint(roles(config, bundle))}


def _drive(
    folder: RunFolder,
    source: Manifest,
    plan: Plan,
    description: RunDescription,
    config: RunConfig,
    bundle: Bundle,
    pipeline: Pipeline,
    listener: Listener | None,
    *,
    retry: Collection[str] = (),
) -> RunResult:
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
            stages=tuple(spec.name for spec in pipeline.order),
            seed_name=(lambda row: str(row.audio)) if config.share_motion else (lambda row: row.record_id),
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

        used = roles(config, bundle)
        models = f"{bundle.name} {bundle.fingerprint(used)}"
        licences = tuple(sorted({licence.name for licence in bundle.licences(used).values()}))

        def take(finished: Finished) -> None:
            ledger.take(finished.record, outcome_of(finished, bundle=models, licences=licences))

        try:
            statistics = engine.run(
                pipeline,
                ledger.records(),
                take,
                executor=_executor(config, pipeline),
                listener=hear,
            )
        finally:
            ledger.save()
        return RunResult(folder.storage.root, folder.counts(plan), statistics.as_dict())


def _pipeline(folder: RunFolder, config: RunConfig) -> Pipeline:
    return video_pipeline(config, folder.storage.root, gpus=_gpus(config))


def _gpus(config: RunConfig) -> int:
    if config.ray.gpus is not None or config.executor == "local":
        return config.ray.gpus or 0
    import torch

    return torch.cuda.device_count()


def _executor(config: RunConfig, pipeline: Pipeline) -> Executor:
    if config.executor == "local":
        return executors.make("local")
    options = dataclasses.asdict(config.ray)
    gpus = options.pop("gpus")
    if config.ray.address is None:
        options |= {"num_cpus": cpus_to_offer(pipeline), "num_gpus": gpus}
    return executors.make("ray", **options)
