"""Summary of a manifest in one pass: its content and the estimated cost of its run, as shown by `joyvasa plan`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from manifests.estimate import NO_PROFILE, CostEstimate, RateProfile, estimate_cost
from manifests.manifest import Manifest
from manifests.media_files import MediaFileCheck, MediaFileCheckConfig
from manifests.option_columns import OptionColumns
from manifests.problems import ScanSummary
from manifests.run.manifest_file import SHARD_RECORDS
from manifests.scan import Scan
from manifests.stats import ManifestStats, Probes, StatsCollector, VideoSizes


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
            **self.stats.as_dict(),
            "sizes": asdict(self.sizes) if self.sizes else None,
            "estimate": self.estimate.as_dict() if self.estimate else NO_PROFILE,
        }


def summarize_manifest(
    manifest: Manifest,
    *,
    shard_size: int = SHARD_RECORDS,
    videos: bool = False,
    files: MediaFileCheckConfig | None = None,
    probes: Probes | None = None,
    profile: RateProfile | None = None,
    options: OptionColumns | None = None,
    speak: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> ManifestSummary:
    """Check a manifest and add up its rows, without writing anything.

    Args:
        manifest: manifest to read.
        shard_size: records per shard.
        videos: whether rows have existing videos, see `Scan`.
        files: lookup of media files; None skips it.
        probes: probes of durations; None reads no media.
        profile: measured rates; None gives no estimate.
        options: columns that set options, see `Scan`.
        speak: whether texts are spoken, see `Scan`.
        on_progress: callback with the number of rows read, after each block.

    Raises:
        ManifestError: see `Scan.blocks`.
    """
    with ExitStack() as stack:
        check = stack.enter_context(MediaFileCheck(files)) if files else None
        collector = stack.enter_context(StatsCollector(probes))
        scan = Scan(manifest, files=check, videos=videos, options=options, speak=speak)
        for scanned in scan.blocks():
            collector.add([record for record in scanned.records if record])
            if on_progress:
                on_progress(scan.summary.rows)
        stats = collector.finish()
    estimate = estimate_cost(stats, profile) if profile else None
    return ManifestSummary(shard_size, scan.summary, stats, probes.sizes if probes else None, estimate)
