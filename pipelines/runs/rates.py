"""Rates of a machine, measured by a run, which `joyvasa plan` uses for its estimate."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manifests.errors import ManifestError
from manifests.estimate import RateProfile, StageRate
from manifests.manifest import open_binary, open_manifest
from manifests.run.events import read_events
from manifests.run.folder import RunFolder
from manifests.scan import MEDIA_COLUMNS, Scan
from manifests.storage import open_storage
from pipelines.engine.events import EventKind

if TYPE_CHECKING:
    from pipelines.runs.config import RunConfig

SAMPLE_RECORDS = 4  # of a manifest that is measured by itself
# What counts the units of a stage: a sum of its statistics.
COUNTED = {
    "record": "records",
    "portrait": "records",
    "second": "seconds",
    "distinct_second": "seconds",
    "frame": "frames",
}


def rates_of_run(run: str, *, machine: str = "", whole_gpu: bool = False) -> RateProfile:
    """The rates of a run, from what its workers took; start-up is not in it.

    Args:
        run: a run folder in which records were finished; a path or URI.
        machine: description of the machine; by default the run and its models.
        whole_gpu: whether each worker had a whole GPU, as in a run in one process.

    Raises:
        ManifestError: `run_missing`, or `rates_unknown` where no part of the run has ended.
    """
    folder = RunFolder(open_storage(run))
    models = ", ".join(folder.read_description().bundles)
    ended = [event for event in read_events(folder.storage) if event.get("event") == EventKind.RUN_ENDED]
    profile = profile_of(ended, machine=machine or f"{run}, models {models}", whole_gpu=whole_gpu)
    if not profile.stages:
        raise ManifestError("rates_unknown", f"{run}: nothing was finished in it yet: let the run end, or resume it")
    return profile


def rates_of_bench(path: str) -> RateProfile:
    """The rates that `joyvasa bench --out` has written.

    Args:
        path: of the JSON file; a path or URI.

    Raises:
        ManifestError: `manifest_missing`, `manifest_unreadable`, or `profile_invalid` where it has no section `chain`.
    """
    with open_binary(path) as file:
        try:
            content = json.loads(file.read())
            machine, statistics = content["machine"], content["chain"]["statistics"]
            named = f"{machine['processor']}, {machine['device']}, models {content['models']}"
            return profile_of([statistics], machine=named)
        except (ValueError, KeyError, TypeError, AttributeError):
            found = "is not a file of joyvasa bench with the section chain"
            raise ManifestError("profile_invalid", f"{path}: {found}: measure again with joyvasa bench --out") from None


def measure(manifest: str, config: RunConfig) -> RateProfile:
    """Runs the first good rows of a manifest on this machine, in this process, and throws the videos away.

    Args:
        manifest: a path or URI.
        config: every option but the executor.

    Raises:
        ManifestError: the manifest cannot be read, or `rates_unknown` where none of these rows gave a video.
        JoyvasaError: missing models.
    """
    import torch

    from pipelines.runs.generate import generate

    with tempfile.TemporaryDirectory(prefix="joyvasa-rates-") as folder:
        sample = Path(folder, "sample.jsonl")
        sample.write_text("".join(json.dumps(row) + "\n" for row in _first_rows(manifest)), encoding="utf-8")
        run = str(Path(folder, "run"))
        result = generate(sample, run, dataclasses.replace(config, executor="local"))
        if not result.counts.statuses.get("ok"):
            raise ManifestError(
                "rates_unknown",
                f"{manifest}: none of its first {result.counts.records} rows gave a video: look at them with "
                "joyvasa generate, or give rates with --profile",
            )
        has_gpu = torch.cuda.is_available()
        machine = f"this machine, models {config.animation.models}" + ("" if has_gpu else ", no GPU")
        return rates_of_run(run, machine=machine, whole_gpu=has_gpu)


def _first_rows(manifest: str) -> list[dict[str, Any]]:
    """Rows of a small manifest, with paths that hold from anywhere."""
    good = (record for block in Scan(open_manifest(manifest)).blocks() for record in block.records if record)
    rows = []
    for record in islice(good, SAMPLE_RECORDS):
        located = {name: getattr(record, name) for name in MEDIA_COLUMNS}
        given = {"record_id": record.id, "mode": record.mode, "seed": record.given_seed, "cfg_scale": record.cfg_scale}
        rows.append({name: value for name, value in (located | given).items() if value is not None})
    return rows


def profile_of(ended: Iterable[Mapping[str, Any]], *, machine: str, whole_gpu: bool = False) -> RateProfile:
    """Adds up the statistics of the parts of a run.

    Args:
        ended: `RunStatistics.as_dict` of each part.
        machine: description of the machine.
        whole_gpu: whether each worker had a whole GPU.
    """
    stages: dict[str, dict[str, float]] = {}
    units: dict[str, str] = {}
    for statistics in ended:
        for stage, numbers in statistics["stages"].items():
            name = stage.removeprefix("animal_")
            _add(stages.setdefault(name, {}), numbers)
            units[name] = numbers["unit"]
    rates = {}
    for name, sums in stages.items():
        unit = units[name]
        if unit == "second" and sums["shared"]:
            unit = "distinct_second"
        if amount := sums.get(COUNTED[unit]):
            rates[name] = StageRate(unit, sums["busy_s"] / amount, sums["uses_gpu" if whole_gpu else "num_gpus"])
    made = stages.get("render", {})
    disk = {"frame": made["video_bytes"] / made["frames"]} if made.get("frames") and "video_bytes" in made else {}
    return RateProfile(machine, rates, disk)


def _add(sums: dict[str, float], numbers: Mapping[str, Any]) -> None:
    amounts = {"records": numbers["records"], "shared": numbers["shared"], "busy_s": numbers["busy_s"]}
    for key, amount in (amounts | numbers["totals"]).items():
        sums[key] = sums.get(key, 0) + amount
    sums["num_gpus"], sums["uses_gpu"] = numbers["num_gpus"], float(numbers["uses_gpu"])
