"""What a manifest holds and what it will take, in one pass: the content of `joyvasa plan`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from manifests.estimate import NO_PROFILE, Estimate, Profile, estimate
from manifests.manifest import Manifest
from manifests.media_files import FileCheck, FileCheckConfig
from manifests.plan import SHARD_RECORDS, Plan, make_plan
from manifests.problems import Problem, Summary
from manifests.scan import Scan
from manifests.stats import Probes, Tally, Totals, VideoSizes


@dataclass(frozen=True)
class Survey:
    """A plan with its counts and, where rates are known, its cost."""

    plan: Plan
    summary: Summary
    totals: Totals
    sizes: VideoSizes
    estimate: Estimate | None

    def as_dict(self) -> dict[str, Any]:
        """All figures as plain values, for JSON."""
        return {
            "shards": len(self.plan),
            "shard_size": self.plan.shard_size,
            **self.summary.as_dict(),
            **self.totals.as_dict(),
            "sizes": asdict(self.sizes),
            "estimate": self.estimate.as_dict() if self.estimate else NO_PROFILE,
        }


def survey(
    manifest: Manifest,
    *,
    shard_size: int = SHARD_RECORDS,
    files: FileCheckConfig | None = None,
    probes: Probes | None = None,
    sizes: VideoSizes | None = None,
    profile: Profile | None = None,
    on_problem: Callable[[Problem], None] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Survey:
    """Checks, plans and adds up a manifest.

    Args:
        manifest: what to read.
        shard_size: rows of a shard.
        files: how files are looked up; None trusts the rows.
        probes: how lengths are found; None reads no media.
        sizes: frame rate and windows of the motion model; None for those of the built-in one.
        profile: measured rates; None gives no estimate.
        on_problem: see `make_plan`.
        on_progress: see `make_plan`.

    Raises:
        ManifestError: as `make_plan`.
    """
    sizes = sizes or VideoSizes()
    with ExitStack() as stack:
        check = stack.enter_context(FileCheck(files)) if files else None
        tally = stack.enter_context(Tally(probes, sizes))
        scan = Scan(manifest, files=check)
        plan = make_plan(scan, shard_size=shard_size, tally=tally, on_problem=on_problem, on_progress=on_progress)
        totals = tally.totals()
    return Survey(plan, scan.summary, totals, sizes, estimate(totals, profile) if profile else None)
