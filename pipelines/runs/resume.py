"""Resume a run of any kind over a manifest; its folder is the only argument it needs."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from manifests.run.folder import RunFolder
from manifests.storage import open_storage
from pipelines.engine.events import EventCallback
from pipelines.runs.driver import RunResult, resume_run
from pipelines.runs.evaluate import EvaluateRun
from pipelines.runs.generate import GenerateRun
from pipelines.runs.prepare import PrepareRun

DEFINITIONS = {definition.kind: definition for definition in (GenerateRun, EvaluateRun, PrepareRun)}


def resume(run: str | Path, *, retry: Collection[str] = (), listener: EventCallback | None = None) -> RunResult:
    """Resume a run that did not finish.

    Args:
        run: run folder; a path or URI.
        retry: statuses of finished records to run again: `failed`, `quarantined`.
        listener: called with every event.

    Raises:
        ManifestError: `run_missing`, `run_locked`, or `run_changed` if the manifest or the models differ from those of
            the run.
        JoyvasaError: missing models, or the run stopped.
    """
    folder = RunFolder(open_storage(str(run)))
    description = folder.read_description()
    definition = DEFINITIONS[description.kind]()
    return resume_run(definition, folder, description, retry=retry, listener=listener)
