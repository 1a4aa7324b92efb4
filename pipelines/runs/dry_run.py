"""Check a run and add up its work, without writing anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests.estimate import ManifestSummary, summarize_manifest
from manifests.manifest import open_manifest
from manifests.run.folder import RunFolder
from manifests.stats import Probes
from manifests.storage import open_storage
from pipelines.runs.config import RunConfig
from pipelines.runs.driver import Run, RunDefinition, plan_run


@dataclass(frozen=True)
class DryRun:
    """A run that was checked and not started."""

    run: Run
    summary: ManifestSummary  # counts of the rows that the run would use

    def as_dict(self) -> dict[str, Any]:
        """Return all figures as plain values, for JSON."""
        manifest, configuration = self.run.description.manifest, self.run.description.configuration
        counts = {
            "rows": manifest.rows,
            "left_out": manifest.left_out,
            "bad_rows": manifest.rows - manifest.left_out - manifest.records,
            "records": manifest.records,
        }
        used = self.summary.as_dict()
        fields = ("name", "workers", "batch_size", "num_cpus", "num_gpus")
        return {
            "run": self.run.folder.storage.root,
            "where": configuration["where"],
            "limit": configuration["limit"],
            **counts,
            "unusable_records": used.pop("bad_rows"),
            **{name: value for name, value in used.items() if name not in counts},
            "stages": [{field: getattr(spec, field) for field in fields} for spec in self.run.pipeline.stages],
        }


def check_run(
    definition: RunDefinition,
    manifest: str | Path,
    out: str,
    config: RunConfig,
    *,
    name: str = "",
    probes: Probes | None = None,
    on_rows: Callable[[int], None] | None = None,
) -> DryRun:
    """Check rows, media files, weights and options of a run as its start does, and add up its work.

    Arguments as in `plan_run`. Without probes no media are read; `on_rows` gets the number of rows whose files were
    checked.

    Raises:
        ManifestError: `run_exists`, `output_unwritable`, or see `plan_run`.
        JoyvasaError: see `plan_run`.
    """
    config = config.with_absolute_paths()
    folder = RunFolder(open_storage(out))
    folder.storage.require_writable()
    with plan_run(definition, folder, manifest, config, name=name) as (run, rows):
        folder.require_new()
        summary = summarize_manifest(
            open_manifest(rows),
            shard_size=config.shard_size,
            videos=definition.reads_videos,
            files=True,
            probes=probes,
            voices=config.voices,
            on_progress=on_rows,
        )
    return DryRun(run, summary)
