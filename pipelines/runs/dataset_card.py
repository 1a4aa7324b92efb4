"""The card of a data set: statistics of its clips and of the rejected segments, as numbers and as Markdown."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from jinja2 import Environment, PackageLoader, StrictUndefined

from joyvasa.training.clips import MAX_CLIP_S, SPLITS
from joyvasa.training.dataset_files import DatasetCard
from manifests.run.outcome import STATUSES

LENGTHS_S = (0, 10, 20, 30, 40, 50, MAX_CLIP_S)  # edges of the histogram of clip lengths


@dataclass
class DatasetStats:
    """Counts over the clip tables of all shards."""

    videos: Counter[str] = field(default_factory=Counter)  # recordings by status
    rejected: Counter[str] = field(default_factory=Counter)  # rejected segments by reason
    rejected_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # their seconds, as far as known
    lengths: Counter[int] = field(default_factory=Counter)  # clips by bin of their length
    sources: set[int] = field(default_factory=set)  # first 64 bits of the hash of each recording with clips

    def add(self, table: pa.Table) -> None:
        """Count the rows of a shard."""
        statuses: dict[str, str] = {}
        for row in table.to_pylist():
            record = row["record_id"]
            if row["status"] == "ok":
                statuses[record] = "ok"
                self.sources.add(int(row["source"][:16], 16))
                index = int(np.searchsorted(LENGTHS_S, row["duration_s"], side="left"))
                self.lengths[min(index, len(LENGTHS_S) - 1)] += 1
                continue
            statuses.setdefault(record, row["status"])
            self.rejected[row["code"]] += 1
            self.rejected_s[row["code"]] += row["duration_s"] or 0.0
        self.videos.update(statuses.values())

    @property
    def repeated(self) -> int:
        """Number of recordings with clips whose content equals that of another recording."""
        return self.videos["ok"] - len(self.sources)

    def summarize(self) -> str:
        """Return the number of recordings and the reasons of rejections as text."""
        reasons = ", ".join(f"{code} {count}" for code, count in self.rejected.most_common())
        return f"{sum(self.videos.values()):,} recordings ({reasons})"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for `dataset.yaml`."""
        rejected = {
            code: {"stretches": count, "hours": round(self.rejected_s[code] / 3600, 4)}
            for code, count in sorted(self.rejected.items())
        }
        videos = {name: self.videos[name] for name in STATUSES}
        return {"recordings": videos, "repeated_recordings": self.repeated, "rejected": rejected}


def format_card(card: DatasetCard, stats: DatasetStats, template: dict[str, np.ndarray]) -> str:
    """Format the card of a data set as Markdown; `template` has the statistics of the motion by JoyVASA's names."""
    environment = Environment(
        loader=PackageLoader("pipelines.runs"), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    return environment.get_template("dataset_card.md").render(
        card=card,
        stats=stats,
        splits=SPLITS,
        lengths=[(f"{low:g}", f"{high:g}") for low, high in pairwise(LENGTHS_S)],
        motion=_motion_rows(template),
        measures_eyes="mean_lip" in template,
    )


def _motion_rows(template: dict[str, np.ndarray]) -> list[tuple[str, ...]]:
    """Return the statistics of each motion coefficient as table rows."""
    labels = {
        **{name: (name,) for name in ("pitch", "yaw", "roll", "scale", "lip")},
        "t": ("translation x", "translation y", "translation z"),
        "eyes": ("eye left", "eye right"),
    }
    rows: list[tuple[str, ...]] = []
    for name, components in labels.items():
        if f"mean_{name}" in template:
            for index, label in enumerate(components):
                values = (float(template[f"{kind}_{name}"].ravel()[index]) for kind in ("mean", "std", "min", "max"))
                rows.append((label, *(f"{value:.4f}" for value in values)))

    # The variance over all coefficients of the expression is the mean variance plus the variance of the means.
    mean, deviation = template["mean_exp"].ravel(), template["std_exp"].ravel()
    pooled = float(np.sqrt((deviation**2).mean() + mean.var()))
    bounds = float(template["min_exp"].min()), float(template["max_exp"].max())
    rows.append(("expression", *(f"{value:.4f}" for value in (float(mean.mean()), pooled, *bounds))))
    return rows
