"""The card of a data set: statistics of its clips and of the rejected segments, as numbers and as Markdown."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

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
    """Format the card of a data set as Markdown.

    Args:
        card: card of the data set.
        stats: statistics of the recordings.
        template: statistics of the motion, by the names of JoyVASA's template.
    """
    recordings = sum(stats.videos.values())
    extractor = card.extractor["name"]
    lines = [
        "# Data set of face motion and speech",
        "",
        f"{sum(card.clips.values()):,} clips, {card.hours:.2f} hours, at {card.frames_per_second} frames a second with "
        f"16 kHz mono sound, from {stats.videos['ok']:,} of {recordings:,} recordings. Motion of {card.keypoints} "
        f"keypoints from the motion extractor of `{extractor}`.",
        "",
        *_table(
            ("split", "clips", "hours"),
            [
                (name, f"{card.clips[name]:,}", f"{card.frames[name] / card.frames_per_second / 3600:.3f}")
                for name in SPLITS
            ],
        ),
        "The hash of its file alone determines the split of a recording, so adding recordings moves no other.",
    ]
    if stats.repeated:
        lines += ["", f"{stats.repeated:,} recordings are copies of another one; both are in the same split."]

    lines += ["", "## Left out", ""]
    lines += _table(
        ("reason", "parts", "hours"),
        [(code, f"{count:,}", f"{stats.rejected_s[code] / 3600:.3f}") for code, count in stats.rejected.most_common()],
    )
    lines += [
        "Each part has a row with its reason in `shards/*/clips.parquet`; recordings that could not be read count no "
        "hours.",
        "",
        "## Length of clips",
        "",
    ]
    lines += _table(
        ("seconds", "clips"),
        [
            (f"{low:g} to {high:g}", f"{stats.lengths[index]:,}")
            for index, (low, high) in enumerate(pairwise(LENGTHS_S), start=1)
        ],
    )

    lines += ["## Motion", ""]
    lines += _table(("all frames", "mean", "deviation", "minimum", "maximum"), _motion_rows(template))
    lines += [
        "Angles are in degrees, translations in units of half a crop; expression is over all its coefficients; eye and "
        "lip are the height of the opening over its width."
        + ("" if "mean_lip" in template else " Eyes and lips were not measured."),
        "",
        "Prepared by `joyvasa prepare`. Make sure that the people seen and heard consent, and that the licenses of the "
        "recordings allow the intended use.",
    ]
    return "\n".join(lines) + "\n"


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


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = [header, tuple("---" if not index else "---:" for index in range(len(header))), *rows]
    return [f"| {' | '.join(line)} |" for line in lines] + [""]
