"""What a manifest holds and what it will take, in one pass: the content of `joyvasa plan`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from manifests.estimate import NO_PROFILE, CostEstimate, RateProfile, estimate_cost
from manifests.manifest import Manifest
from manifests.media_files import MediaFileCheck, MediaFileCheckConfig
from manifests.problems import ScanSummary
from manifests.run.manifest_file import SHARD_RECORDS
from manifests.scan import Scan
from manifests.stats import ManifestStats, Probes, StatsCollector, VideoSizes


@dataclass(frozen=True)
class ManifestSummary:
    """The counts of a manifest and, where rates are known, its cost."""

    shard_size: int
    summary: ScanSummary
    totals: ManifestStats
    sizes: VideoSizes
    estimate: CostEstimate | None

    @property
    def shards(self) -> int:
        """How many shards the usable rows fill."""
        return -(-self.totals.records // self.shard_size)

    def as_dict(self) -> dict[str, Any]:
        """All figures as plain values, for JSON."""
        return {
            "shards": self.shards,
            "shard_size": self.shard_size,
            **self.summary.as_dict(),
            **self.totals.as_dict(),
            "sizes": asdict(self.sizes),
            "estimate": self.estimate.as_dict() if self.estimate else NO_PROFILE,
        }


def summarize_manifest(
    manifest: Manifest,
    *,
    shard_size: int = SHARD_RECORDS,
    files: MediaFileCheckConfig | None = None,
    probes: Probes | None = None,
    sizes: VideoSizes | None = None,
    profile: RateProfile | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> ManifestSummary:
    """Check and add up a manifest; write nothing.

    Args:
        manifest: what to read.
        shard_size: records of a shard.
        files: how files are looked up; None trusts the rows.
        probes: how lengths are found; None reads no media.
        sizes: frame rate and windows of the motion model; None for those of the built-in one.
        profile: measured rates; None gives no estimate.
        on_progress: called with the number of rows read so far, after each block.

    Raises:
        ManifestError: as `Scan.blocks`.
    """
    sizes = sizes or VideoSizes()
    with ExitStack() as stack:
        check = stack.enter_context(MediaFileCheck(files)) if files else None
        tally = stack.enter_context(StatsCollector(probes, sizes))
        scan = Scan(manifest, files=check)
        for scanned in scan.blocks():
            tally.add([record for record in scanned.records if record])
            if on_progress:
                on_progress(scan.summary.rows)
        totals = tally.totals()
    return ManifestSummary(shard_size, scan.summary, totals, sizes, estimate_cost(totals, profile) if profile else None)
