"""Single records on the page: their names, their videos, and the frames that are shown of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from manifests.manifest import is_remote, resolve_location
from manifests.run.description import RunDescription
from manifests.run.folder import RunFolder
from manifests.storage import LocalStorage
from pipelines.report.contact_sheets import Source
from pipelines.report.metrics import MetricFigures
from pipelines.report.rows import RunRows

REPORT = "report"  # folder of the page within the run
COLUMNS = ("record_id", "row", "shard", "video", "input_video", "duration_s")
MAX_SHEETS = 160  # decoded for a page; the most extreme videos of each metric come first
LINKED_SCHEMES = ("http", "https")


@dataclass(frozen=True)
class RecordView:
    """A record that the page shows.

    Args:
        place: of its row in the run.
        record_id: as in the manifest.
        row: in the manifest.
        href: of its video, escaped for a link; empty where a browser could not open it.
        source: its video; None where it has none.
    """

    place: int
    record_id: str
    row: int | None
    href: str
    source: Source | None


def record_views(
    rows: RunRows, folder: RunFolder, description: RunDescription, places: Iterable[int]
) -> dict[int, RecordView]:
    """Records by the places of their rows.

    Args:
        rows: of the run.
        folder: of the run.
        description: of the run, which says where the paths of its rows begin.
        places: of the rows that are wanted.
    """
    views = {}
    wanted = sorted(set(places))
    for place, row in zip(wanted, rows.rows(wanted, COLUMNS), strict=True):
        location, href = "", ""
        if row.get("video"):  # not what the row says, which may lead anywhere
            path = folder.video_path(row["shard"], row["record_id"])
            location, href = folder.storage.location(path), quote(f"../{path}")
        elif row.get("input_video") and description.kind == "evaluate":
            location = resolve_location(description.manifest.folder, row["input_video"])
            href = link_to(location, folder)
        source = Source(location, row.get("duration_s")) if location else None
        views[place] = RecordView(place, row["record_id"], row.get("row"), href, source)
    return views


def link_to(location: str, folder: RunFolder) -> str:
    """A link from the page to a file, relative where both lie on this machine; empty where there can be none.

    Args:
        location: absolute local path or URI.
        folder: of the run.
    """
    if is_remote(location):
        return quote(location, safe=":/?#[]@!$&()*+,;=%~") if urlsplit(location).scheme in LINKED_SCHEMES else ""
    if not isinstance(folder.storage, LocalStorage):
        return ""
    return quote(os.path.relpath(location, folder.storage.path(REPORT)))


def by_importance(figures: Iterable[MetricFigures]) -> list[int]:
    """Places of the rows at the ends of metrics, each once: the most extreme of each metric, then the next."""
    ends = [end for one in figures for end in (one.worst, one.best)]
    longest = max(map(len, ends), default=0)
    return list(dict.fromkeys(end[rank][0] for rank in range(longest) for end in ends if rank < len(end)))


def sheet_sources(views: Mapping[int, RecordView], order: Iterable[int]) -> dict[int, Source]:
    """The videos of which the page shows frames."""
    sources: dict[int, Source] = {}
    for place in order:
        source = views[place].source
        if source and len(sources) < MAX_SHEETS:
            sources[place] = source
    return sources
