"""Export of a run or a selection as a data set: plan, check of licenses, shards, data card, checksums."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from joyvasa.errors import InputError
from manifests.hash_index import HashIndex
from manifests.scratch import scratch_folder
from manifests.storage import Storage, open_storage
from pipelines.report.rows import ProgressCallback, ignore_progress
from pipelines.runs.export.card import CARD, CONTACT_SHEET, make_overview, write_card
from pipelines.runs.export.config import ExportConfig
from pipelines.runs.export.formats.folder import FolderWriter
from pipelines.runs.export.formats.parquet import ParquetShardWriter
from pipelines.runs.export.formats.webdataset import TarWriter
from pipelines.runs.export.formats.writer import FormatWriter
from pipelines.runs.export.licenses import StatedLicense, list_stated_licenses, require_accepted
from pipelines.runs.export.markers import CHECKSUMS, ExportMarkers, WrittenFile, format_checksums
from pipelines.runs.export.plan import ExportPlan
from pipelines.runs.export.planner import plan_export
from pipelines.runs.export.source import ExportSource

NO_SOURCE_LICENSE = (
    "the rows state no licenses of portraits and recordings (no column such as image_license): check that you may "
    "publish them"
)


@dataclass(frozen=True)
class ExportResult:
    """The result of an export."""

    folder: str  # folder of the data set
    # records, bytes, duration_s: number of records, size and duration of their videos
    records: int
    bytes: int
    duration_s: float
    splits: dict[str, int]  # records by split
    shards: int  # number of shards
    kept: int  # number of shards that were finished before
    notes: list[str] = field(default_factory=list)  # remarks, one sentence each


def export_dataset(
    source: str,
    out: str,
    config: ExportConfig | None = None,
    *,
    on_note: Callable[[str], object] | None = None,
    on_progress: ProgressCallback = ignore_progress,
) -> ExportResult:
    """Write a data set; continue an interrupted export, whose finished shards are not written again.

    The files depend only on the rows, the videos and the options, so a second export writes identical ones. Files
    appear when they are complete, `checksums.sha256` last. Memory is bounded by a row group of media.

    Args:
        source: run folder, or Parquet file of `joyvasa select`; a path or URI.
        out: folder of the data set; a path or URI.
        config: options.
        on_note: callback for remarks, those about licenses before anything is written.
        on_progress: callback for progress.

    Raises:
        InputError: `selection_invalid`, `export_empty`, `video_missing`, `media_changed`, `license_not_accepted`,
            `records_unreadable` or `run_without_videos`.
        ManifestError: `run_missing`, `run_unreadable`, `output_exists` or `output_unwritable`.
    """
    config = config or ExportConfig()
    rows, target = ExportSource(source), open_storage(out)
    markers = ExportMarkers(target)
    markers.check_target(config.format)
    target.require_writable()
    notes: list[str] = []

    def note(sentence: str) -> None:
        notes.append(sentence)
        if on_note:
            on_note(sentence)

    with scratch_folder() as scratch:
        plan = plan_export(rows, config, scratch, on_progress=on_progress)
        licenses = _check_licenses(plan, config, note)
        if left_out := rows.count_records() - plan.statistics.records:
            note(f"records of the run that failed or have no video yet, and are left out: {left_out:,}")
        for kind, count in plan.statistics.missing_inputs.items():
            if count:
                note(f"rows whose {kind} cannot be read or is missing, and is null: {count:,}")

        markers.begin(config.format)
        markers.discard_outdated(plan.shards)
        writer = open_writer(target, config, plan)
        kept = _write_shards(plan, writer, markers, on_progress)
        others = _write_descriptions(rows, plan, config, writer, licenses)
        _write_checksums(plan, markers, others, target)

    statistics = plan.statistics
    return ExportResult(
        folder=target.root,
        records=statistics.records,
        bytes=sum(split.bytes for split in statistics.splits.values()),
        duration_s=statistics.duration_s,
        splits={name: statistics.splits[name].records for name in plan.shards},
        shards=sum(map(len, plan.shards.values())),
        kept=kept,
        notes=notes,
    )


def _check_licenses(plan: ExportPlan, config: ExportConfig, note: Callable[[str], object]) -> list[StatedLicense]:
    licenses = list_stated_licenses(plan.statistics)
    if not plan.statistics.source_licenses:
        if config.publish and not config.accept_licenses:
            sentence = f"{NO_SOURCE_LICENSE}, then add --accept-licenses; nothing was written"
            raise InputError("license_not_accepted", sentence)
        note(NO_SOURCE_LICENSE)
    if not config.accept_licenses:
        require_accepted(licenses)
    else:
        for entry in licenses:
            if entry.verdict != "free":
                note(f"accepted license: {entry}")
    return licenses


def _write_shards(plan: ExportPlan, writer: FormatWriter, markers: ExportMarkers, on_progress: ProgressCallback) -> int:
    """Write the shards that are not finished; return the number of the others."""
    shards = [shard for parts in plan.shards.values() for shard in parts]
    kept = 0
    for number, shard in enumerate(shards):
        if markers.find_finished(shard) is None:
            markers.finish(shard, writer.write_shard(shard))
        else:
            kept += 1
        on_progress("shards", number + 1, len(shards))
    return kept


def _write_descriptions(
    rows: ExportSource,
    plan: ExportPlan,
    config: ExportConfig,
    writer: FormatWriter,
    licenses: list[StatedLicense],
) -> list[WrittenFile]:
    """Write the tables of splits, the contact sheet and the data card."""
    files = writer.write_tables(plan.shards)
    overview = make_overview(plan.samples)
    if overview:
        files.append(writer.write_file(CONTACT_SHEET, lambda path: path.write_bytes(overview)))
    patterns = {split: writer.list_patterns(split) for split in plan.shards}
    card = write_card(rows, plan, config, licenses, patterns, picture=overview is not None)
    return [*files, writer.write_file(CARD, lambda path: path.write_bytes(card.encode()))]


def _write_checksums(plan: ExportPlan, markers: ExportMarkers, others: list[WrittenFile], target: Storage) -> None:
    """Remove inputs that no row uses any more, then write the list of checksums."""
    index = HashIndex()

    def is_new(path: str) -> bool:
        known = len(index)
        return bool(index.add([path])[0] >= known)

    def list_files() -> Iterator[WrittenFile]:
        for parts in plan.shards.values():
            for shard in parts:
                yield from markers.read_files(shard)
        yield from others

    with target.staging(CHECKSUMS) as staged:
        with staged.open("wb") as output:
            output.writelines(format_checksums(file for file in list_files() if is_new(file.path)))
        markers.remove_inputs(is_new)


def open_writer(storage: Storage, config: ExportConfig, plan: ExportPlan) -> FormatWriter:
    """Return the writer of the format of an export; arguments as in `FormatWriter`."""
    kind = TarWriter if config.format == "webdataset" else ParquetShardWriter
    return (FolderWriter if config.with_files else kind)(storage, config, plan)
