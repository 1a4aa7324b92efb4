"""Processing rates of a machine, measured by a run or a benchmark, for the estimate of `joyvasa plan`."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from joyvasa.runtime.parsing import parse_json
from manifests.estimate import RateProfile, StageRate, Unit
from manifests.manifest import open_binary
from manifests.problems import ManifestError
from manifests.run.events import read_events
from manifests.run.folder import RunFolder
from manifests.storage import open_storage
from pipelines.engine.events import EventCallback, EventKind
from pipelines.engine.statistics import UNIT_COUNTS, RunStatistics, StageStatistics, parse_statistics
from stages.base import WorkUnit

if TYPE_CHECKING:
    from pipelines.runs.config import RunConfig

SAMPLE_RECORDS = 4  # number of rows that `measure_rates` runs


def read_run_rates(run: str, *, machine: str = "", whole_gpu: bool = False) -> RateProfile:
    """Compute the rates of a run from the busy time of its workers, without their start-up.

    Args:
        run: run folder with finished records; a path or URI.
        machine: description of the machine; by default the run and its models.
        whole_gpu: whether each worker had a whole GPU, as in a run in one process.

    Raises:
        ManifestError: `run_missing`, or `rates_unknown` if no part of the run has ended.
    """
    folder = RunFolder(open_storage(run))
    description = folder.read_description()
    models = ", ".join(description.bundles)
    ended = (event for event in read_events(folder.storage) if event.get("event") == EventKind.RUN_ENDED)
    parts = [statistics for event in ended if (statistics := parse_statistics(event))]
    profile = build_profile(parts, machine=machine or f"{run}, models {models}", whole_gpu=whole_gpu)
    if not profile.stages:
        raise ManifestError("rates_unknown", f"{run}: no record is finished yet: let the run end, or resume it")
    return dataclasses.replace(profile, models=description.models)


def read_bench_rates(path: str) -> RateProfile:
    """Read the rates that `joyvasa bench --out` has written.

    Args:
        path: JSON file; a path or URI.

    Raises:
        ManifestError: `manifest_missing`, `manifest_unreadable`, or `profile_invalid` if it has no section `chain`.
    """
    with open_binary(path) as file:
        try:
            content = parse_json(file.read())
            machine, statistics = content["machine"], parse_statistics(content["chain"]["statistics"])
            if not statistics:
                raise ValueError("no statistics")
            description = f"{machine['processor']}, {machine['device']}, models {content['models']}"
            return build_profile([statistics], machine=description)
        except (ValueError, KeyError, TypeError):
            problem = "is not a file of joyvasa bench with the section chain"
            text = f"{path}: {problem}: measure again with joyvasa bench --out"
            raise ManifestError("profile_invalid", text) from None


def measure_rates(manifest: str, config: RunConfig, *, on_event: EventCallback | None = None) -> RateProfile:
    """Measure the rates of this machine: run the first good rows of a manifest in this process, discard the videos.

    Args:
        manifest: manifest; a path or URI.
        config: options of the run; the executor is ignored.
        on_event: callback for every event of the run.

    Raises:
        ManifestError: the manifest cannot be read, or `rates_unknown` if none of these rows produced a video.
        JoyvasaError: missing models.
    """
    import torch

    from pipelines.runs.generate import generate_videos

    sample = dataclasses.replace(config, executor="local", skip_bad_rows=True, where=(), limit=SAMPLE_RECORDS)
    with tempfile.TemporaryDirectory(prefix="joyvasa-rates-") as folder:
        run = str(Path(folder, "run"))
        result = generate_videos(manifest, run, sample, on_event=on_event)
        if not result.counts.statuses.get("ok"):
            raise ManifestError(
                "rates_unknown",
                f"{manifest}: none of its first {result.counts.records} rows produced a video: inspect them with "
                "joyvasa generate, or pass rates with --profile",
            )

        has_gpu = torch.cuda.is_available()
        machine = f"this machine, models {config.animation.models}" + ("" if has_gpu else ", no GPU")
        return read_run_rates(run, machine=machine, whole_gpu=has_gpu)


def build_profile(parts: Iterable[RunStatistics], *, machine: str, whole_gpu: bool = False) -> RateProfile:
    """Compute rates from the statistics of the parts of a run; other arguments as in `read_run_rates`."""
    stages: dict[str, dict[str, float]] = {}
    units: dict[str, WorkUnit] = {}
    for statistics in parts:
        for stage, numbers in statistics.stages.items():
            name = stage.removeprefix("animal_")
            _add(stages.setdefault(name, {}), numbers)
            units[name] = numbers.unit

    rates = {}
    for name, sums in stages.items():
        unit = units[name]
        if unit == "second" and sums["shared"]:
            unit = "distinct_second"
        if amount := sums.get(UNIT_COUNTS[unit]):
            rates[name] = StageRate(unit, sums["busy_s"] / amount, sums["uses_gpu" if whole_gpu else "num_gpus"])

    render = stages.get("render", {})
    has_sizes = render.get("frames") and "video_bytes" in render
    disk: dict[Unit, float] = {"frame": render["video_bytes"] / render["frames"]} if has_sizes else {}
    return RateProfile(machine, rates, disk)


def _add(sums: dict[str, float], numbers: StageStatistics) -> None:
    amounts = {"records": numbers.records, "shared": numbers.shared, "busy_s": numbers.busy_s}
    for key, amount in (amounts | numbers.totals).items():
        sums[key] = sums.get(key, 0) + amount
    sums["num_gpus"], sums["uses_gpu"] = numbers.num_gpus, float(numbers.uses_gpu)
