"""What a data set holds and what was left out, in numbers and for people."""

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

LENGTHS_S = (0, 10, 20, 30, 40, 50, MAX_CLIP_S)  # bounds of the classes of clip lengths


@dataclass
class Tally:
    """Counts over the tables of clips of all shards."""

    videos: Counter[str] = field(default_factory=Counter)  # by status
    rejected: Counter[str] = field(default_factory=Counter)  # stretches by reason
    rejected_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # their seconds, as far as known
    lengths: Counter[int] = field(default_factory=Counter)  # clips by class of their length
    sources: set[int] = field(default_factory=set)  # 64 bits of the hash of each recording with clips

    def add(self, table: pa.Table) -> None:
        """Counts the rows of a shard."""
        statuses: dict[str, str] = {}
        for row in table.to_pylist():
            record = row["record_id"]
            if row["status"] == "ok":
                statuses[record] = "ok"
                self.sources.add(int(row["source"][:16], 16))
                place = int(np.searchsorted(LENGTHS_S, row["duration_s"], side="left"))
                self.lengths[min(place, len(LENGTHS_S) - 1)] += 1
                continue
            statuses.setdefault(record, row["status"])
            self.rejected[row["code"]] += 1
            self.rejected_s[row["code"]] += row["duration_s"] or 0.0
        self.videos.update(statuses.values())

    @property
    def repeated(self) -> int:
        """Recordings with clips that have the content of another one."""
        return self.videos["ok"] - len(self.sources)

    def told(self) -> str:
        """The recordings and why parts were rejected, in words."""
        reasons = ", ".join(f"{code} {count}" for code, count in self.rejected.most_common())
        return f"{sum(self.videos.values()):,} recordings ({reasons})"

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for `dataset.yaml`."""
        rejected = {
            code: {"stretches": count, "hours": round(self.rejected_s[code] / 3600, 4)}
            for code, count in sorted(self.rejected.items())
        }
        videos = {name: self.videos[name] for name in STATUSES}
        return {"recordings": videos, "repeated_recordings": self.repeated, "rejected": rejected}


def card_text(card: DatasetCard, tally: Tally, template: dict[str, np.ndarray]) -> str:
    """The card of a data set as Markdown.

    Args:
        card: of the data set.
        tally: of its recordings.
        template: its statistics, by the names of JoyVASA's template.
    """
    recordings = sum(tally.videos.values())
    extractor = card.extractor["name"]
    lines = [
        "# Data set of face motion and speech",
        "",
        f"{sum(card.clips.values()):,} clips, {card.hours:.2f} hours, at {card.frames_per_second} frames a second with "
        f"16 kHz mono sound, from {tally.videos['ok']:,} of {recordings:,} recordings. Motion of {card.keypoints} "
        f"keypoints by the motion extractor of `{extractor}`.",
        "",
        *_table(
            ("split", "clips", "hours"),
            [(name, f"{card.clips[name]:,}", f"{_hours(card, name):.3f}") for name in SPLITS],
        ),
        "The split of a recording follows from the hash of its file alone, so adding recordings moves none.",
    ]
    if tally.repeated:
        lines += ["", f"{tally.repeated:,} recordings have the content of another one; both are in the same split."]
    lines += ["", "## Left out", ""]
    lines += _table(
        ("reason", "parts", "hours"),
        [(code, f"{count:,}", f"{tally.rejected_s[code] / 3600:.3f}") for code, count in tally.rejected.most_common()],
    )
    lines += [
        "Each part has a row with its reason in `shards/*/clips.parquet`; a recording that could not be read counts "
        "no hours.",
        "",
        "## Length of clips",
        "",
    ]
    lines += _table(
        ("seconds", "clips"),
        [
            (f"{low:g} to {high:g}", f"{tally.lengths[place]:,}")
            for place, (low, high) in enumerate(pairwise(LENGTHS_S), start=1)
        ],
    )
    lines += ["## Motion", ""]
    lines += _table(("of all frames", "mean", "deviation", "least", "largest"), _distributions(template))
    lines += [
        "Angles in degrees; translation where the crop spans -1 to 1; expression over all its numbers; eye and lip are "
        "height over width of the opening." + ("" if "mean_lip" in template else " Eyes and lips were not measured."),
        "",
        "Made by `joyvasa prepare`. Whoever is seen and heard in it has rights: see to their consent and to the "
        "licenses of the recordings.",
    ]
    return "\n".join(lines) + "\n"


def _hours(card: DatasetCard, split: str) -> float:
    return card.frames[split] / card.frames_per_second / 3600


def _distributions(template: dict[str, np.ndarray]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, shown in {"pitch": "pitch", "yaw": "yaw", "roll": "roll", "scale": "scale", "lip": "lip"}.items():
        if f"mean_{name}" in template:
            rows.append(_numbers(shown, template, name, 0))
    for name, shown in {"t": ("x", "y", "z"), "eyes": ("left", "right")}.items():
        if f"mean_{name}" in template:
            word = "translation" if name == "t" else "eye"
            rows += [_numbers(f"{word} {side}", template, name, place) for place, side in enumerate(shown)]
    mean, deviation = template["mean_exp"].ravel(), template["std_exp"].ravel()
    # All numbers of an expression count alike: the variance is that within each plus that between their means.
    whole = float(np.sqrt((deviation**2).mean() + mean.var()))
    ends = float(template["min_exp"].min()), float(template["max_exp"].max())
    rows.append(("expression", *(f"{value:.4f}" for value in (float(mean.mean()), whole, *ends))))
    return rows


def _numbers(shown: str, template: dict[str, np.ndarray], name: str, place: int) -> tuple[str, ...]:
    values = (float(template[f"{kind}_{name}"].ravel()[place]) for kind in ("mean", "std", "min", "max"))
    return (shown, *(f"{value:.4f}" for value in values))


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" if not at else "---:" for at in range(len(head))), *rows]
    return [f"| {' | '.join(line)} |" for line in lines] + [""]
