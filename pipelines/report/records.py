"""Records that the page shows: their ids, their videos, and the frames of their contact sheets."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from joyvasa.runtime.locations import is_remote
from manifests.manifest import resolve_location
from manifests.run.description import RunDescription
from manifests.run.folder import RunFolder
from manifests.storage import LocalStorage
from pipelines.report.contact_sheets import VideoSource
from pipelines.report.gallery import VideoLinks
from pipelines.report.metrics import MetricFigures
from pipelines.report.rows import OutcomeRows

COLUMNS = ("record_id", "row", "shard", "video", "input_video", "duration_s")
MAX_SHEETS = 160  # maximum number of contact sheets; the most extreme videos of each metric come first
LINKED_SCHEMES = ("http", "https")


@dataclass(frozen=True)
class RecordView:
    """A record that the page shows."""

    row_index: int  # index of the row in the run
    record_id: str  # id of the record
    row: int | None  # number of the row in the manifest
    href: str  # escaped link to the video; empty if a browser cannot open it
    source: VideoSource | None  # video; None if there is none


def build_record_views(
    rows: OutcomeRows, folder: RunFolder, description: RunDescription, row_indices: Iterable[int]
) -> dict[int, RecordView]:
    """Return the records by row index."""
    views, source_folder = {}, folder.find_source_folder(description)
    ordered = sorted(set(row_indices))
    for row_index, row in zip(ordered, rows.read_rows(ordered, COLUMNS), strict=True):
        location, href = "", ""
        if row.get("video"):  # the path in the row is ignored: it may point anywhere
            path = folder.video_path(row["shard"], row["record_id"])
            location, href = folder.storage.location(path), quote(f"../{path}")
        elif row.get("input_video") and description.kind == "evaluate":
            location = resolve_location(source_folder, row["input_video"])
            href = _link_path(location, folder)
        source = VideoSource(location, row.get("duration_s")) if location else None
        views[row_index] = RecordView(row_index, row["record_id"], row.get("row"), href, source)
    return views


def find_video_links(rows: OutcomeRows, folder: RunFolder, description: RunDescription) -> VideoLinks:
    """Return the links from the page to the videos of all rows; arguments as in `build_record_views`."""
    if description.kind != "evaluate":
        return VideoLinks(None, rows.read_shards())
    source_folder = folder.find_source_folder(description)
    locations = (row.get("input_video") for row in rows.read_rows(range(rows.n_rows), ("input_video",)))
    hrefs = [_link_path(resolve_location(source_folder, at), folder) if at else "" for at in locations]
    return VideoLinks(hrefs, rows.read_shards())


def _link_path(location: str, folder: RunFolder) -> str:
    """Return a link from the page to a file, relative if both are on this machine; empty if no link is possible."""
    if is_remote(location):
        return quote(location, safe=":/?#[]@!$&()*+,;=%~") if urlsplit(location).scheme in LINKED_SCHEMES else ""
    if not isinstance(folder.storage, LocalStorage):
        return ""
    return quote(os.path.relpath(location, folder.storage.path(RunFolder.REPORT)))


def rank_by_importance(figures: Iterable[MetricFigures]) -> list[int]:
    """Return the indices of the best and worst rows without duplicates: the most extreme of each metric come first."""
    ends = [end for metric in figures for end in (metric.worst, metric.best)]
    longest = max(map(len, ends), default=0)
    return list(dict.fromkeys(end[rank][0] for rank in range(longest) for end in ends if rank < len(end)))


def select_sheet_sources(views: Mapping[int, RecordView], order: Iterable[int]) -> dict[int, VideoSource]:
    """Return the videos of which the page shows contact sheets."""
    sources: dict[int, VideoSource] = {}
    for row_index in order:
        source = views[row_index].source
        if source and len(sources) < MAX_SHEETS:
            sources[row_index] = source
    return sources
