"""Summary of a manifest, and the GPU hours and disk space of its run, estimated from measured rates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from joyvasa.runtime.parsing import parse_yaml, read_limited
from joyvasa.runtime.validation import explain_validation_error
from manifests.manifest import Manifest, open_binary
from manifests.media_files import MediaFileCheck
from manifests.option_columns import OptionColumns
from manifests.problems import ManifestError, ScanSummary, safe_text
from manifests.run.manifest_file import SHARD_RECORDS
from manifests.scan import Scan
from manifests.speech import Voices
from manifests.stats import ManifestStats, Probes, StatsCollector, VideoSizes, add_known

Unit = Literal["record", "portrait", "recording", "second", "distinct_second", "frame", "window"]
Amount = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
NO_PROFILE = "no measured rates, so no GPU hours and no disk space: give --profile FILE|RUN, or --measure"


@dataclass(frozen=True)
class StageRate:
    """Measured cost of one stage."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    per: Unit
    seconds: Amount  # time of one worker per unit
    gpus: Amount = 0.0  # GPUs of this worker


@dataclass(frozen=True)
class RateProfile:
    """Measured rates of one machine.

    Example of a YAML file:

        machine: one H200, bundle joyvasa, fp16
        stages:
          portrait: {per: portrait, seconds: 0.11, gpus: 0.25}
          speech: {per: distinct_second, seconds: 0.002, gpus: 0.25}
          motion: {per: window, seconds: 0.05, gpus: 0.5}
          render: {per: frame, seconds: 0.011, gpus: 1}
        disk:
          frame: 5200
          record: 900
    """

    machine: str
    stages: Mapping[str, StageRate]
    disk: Mapping[Unit, Amount] = field(default_factory=dict)  # bytes per unit
    models: str | None = None  # model bundle of the measured run, if known


_ADAPTER = TypeAdapter(RateProfile)


@dataclass(frozen=True)
class CostEstimate:
    """Estimated cost of a run; None if durations are not known."""

    machine: str  # machine on which the rates were measured
    gpu_hours: Mapping[str, float | None]  # by stage
    worker_hours: Mapping[str, float | None]  # by stage
    disk_bytes: float | None

    @property
    def total_gpu_hours(self) -> float | None:
        """GPU hours of all stages, None if one is not known."""
        return add_known(*self.gpu_hours.values())

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as a mapping, for JSON."""
        return {
            "machine": self.machine,
            "gpu_hours": self.total_gpu_hours,
            "gpu_hours_by_stage": dict(self.gpu_hours),
            "worker_hours_by_stage": dict(self.worker_hours),
            "disk_bytes": self.disk_bytes,
        }


def read_profile(path: str) -> RateProfile:
    """Read a profile from a YAML file.

    Args:
        path: path or URI of the file.

    Raises:
        ManifestError: `manifest_missing`, `manifest_unreadable` or `profile_invalid`.
    """
    with open_binary(path) as file:
        try:
            content = parse_yaml(read_limited(file))
            if not isinstance(content, Mapping) or not content.get("stages"):
                raise ValueError("it has no stages; expected `stages: {render: {per: frame, seconds: 0.01, gpus: 1}}`")
            values = {"stages": content["stages"], "disk": content.get("disk") or {}}
            return _ADAPTER.validate_python({"machine": str(content.get("machine", "")), **values})
        except ValidationError as error:
            reason = explain_validation_error(error, values, root="profile")[0]
        except ValueError as error:
            reason = str(error)
    sentence = f"{safe_text(path, 200)}: cannot be read ({safe_text(reason, 200)}): correct it or measure it again"
    raise ManifestError("profile_invalid", sentence)


def estimate_cost(stats: ManifestStats, profile: RateProfile) -> CostEstimate:
    """Estimate the cost of a run from the amounts in its manifest."""
    units = {
        "record": stats.records,
        "portrait": stats.portraits,
        "recording": stats.recordings,
        "second": stats.sound_s,
        "distinct_second": stats.distinct_sound_s,
        "frame": stats.frames,
        "window": stats.windows,
    }

    stages = profile.stages
    worker_hours = {k: None if (n := units[r.per]) is None else n * r.seconds / 3600 for k, r in stages.items()}
    gpu_hours = {name: None if hours is None else hours * stages[name].gpus for name, hours in worker_hours.items()}
    sizes = [None if (n := units[unit]) is None else n * size for unit, size in profile.disk.items()]
    return CostEstimate(profile.machine, gpu_hours, worker_hours, add_known(*sizes) if sizes else None)


@dataclass(frozen=True)
class ManifestSummary:
    """Counts of a manifest and, if rates are known, the estimated cost of its run."""

    shard_size: int
    scan: ScanSummary
    stats: ManifestStats
    sizes: VideoSizes | None  # sizes used by the probes
    estimate: CostEstimate | None

    @property
    def shards(self) -> int:
        """Number of shards of the valid rows."""
        return -(-self.stats.records // self.shard_size)

    def as_dict(self) -> dict[str, Any]:
        """Return all figures as plain values, for JSON."""
        return {
            "shards": self.shards,
            "shard_size": self.shard_size,
            **self.scan.as_dict(),
            **asdict(self.stats),
            "sizes": asdict(self.sizes) if self.sizes else None,
            "estimate": self.estimate.as_dict() if self.estimate else NO_PROFILE,
        }


def summarize_manifest(
    manifest: Manifest,
    *,
    shard_size: int = SHARD_RECORDS,
    videos: bool = False,
    files: bool = False,
    probes: Probes | None = None,
    profile: RateProfile | None = None,
    options: OptionColumns | None = None,
    voices: Voices | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> ManifestSummary:
    """Check a manifest and add up its rows, without writing anything.

    Args:
        manifest: manifest to read.
        shard_size: records per shard.
        videos: whether rows have existing videos, see `Scan`.
        files: whether to look up media files.
        probes: probes of durations; None reads no media.
        profile: measured rates; None gives no estimate.
        options: columns that set options, see `Scan`.
        voices: voices that speak texts, see `Scan`.
        on_progress: callback with the number of rows read, after each block.

    Raises:
        ManifestError: see `Scan.blocks`.
    """
    with ExitStack() as stack:
        check = stack.enter_context(MediaFileCheck()) if files else None
        collector = stack.enter_context(StatsCollector(probes))
        scan = Scan(manifest, files=check, videos=videos, options=options, voices=voices)
        for scanned in scan.blocks():
            collector.add([record for record in scanned.records if record])
            if on_progress:
                on_progress(scan.summary.rows)
        stats = collector.finish()
    estimate = estimate_cost(stats, profile) if profile else None
    return ManifestSummary(shard_size, scan.summary, stats, probes.sizes if probes else None, estimate)
