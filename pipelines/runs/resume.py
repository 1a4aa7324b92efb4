"""Resume a run of any kind over a manifest; the run folder is the only argument that it needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path

from joyvasa.config import config_from_dict
from manifests.run.description import require_same_settings
from manifests.run.folder import RunFolder
from manifests.storage import open_storage
from pipelines.engine.events import EventCallback
from pipelines.engine.statistics import RunStatistics
from pipelines.runs.config import RunConfig
from pipelines.runs.driver import Run, RunResult
from pipelines.runs.evaluate import EvaluateRun
from pipelines.runs.generate import GenerateRun
from pipelines.runs.prepare import PrepareRun

DEFINITIONS = {definition.kind: definition for definition in (GenerateRun, EvaluateRun, PrepareRun)}


def resume_run(run: str | Path, *, retry: Collection[str] = (), on_event: EventCallback | None = None) -> RunResult:
    """Resume a run that did not finish.

    Args:
        run: run folder; a path or URI.
        retry: finished records to run again: `failed`, `quarantined`, or `missing` for those whose files are missing.
        on_event: callback for every event.

    Returns:
        Result of the run; if it is finished and there is nothing to run again, no worker is started.

    Raises:
        ManifestError: `run_missing`, `run_unreadable`, `run_locked`, `run_changed` if the models differ from those of
            the run, `source_missing` or `source_changed` if media in a table or archive of the manifest are gone.
        JoyvasaError: missing models, or the run stopped.
    """
    folder = RunFolder(open_storage(str(run)))
    description = folder.read_description()
    definition = DEFINITIONS[description.kind]()
    config = config_from_dict(RunConfig, description.configuration)

    manifest = folder.read_manifest()
    counts = folder.count_records(manifest)
    if counts.finished_shards == counts.shards and not folder.count_retries(retry):
        product = definition.finish(folder, manifest, config)
        return RunResult(folder.storage.root, counts, RunStatistics({}).as_dict(), product, already_finished=True)

    hashes = definition.hash_weights(config, description.manifest.modes)
    require_same_settings(description, dataclasses.replace(description, bundles=hashes))

    resumed = Run(definition, folder, config, description)
    return resumed.process_records(on_event, is_resumed=True, retry=retry)
