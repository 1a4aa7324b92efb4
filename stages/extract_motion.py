"""Stage `extract_motion`: extract the motion of segments and write them as clips of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from joyvasa.bundles.requirements import resolve_detector
from joyvasa.errors import InputError
from joyvasa.faces.registry import measures
from joyvasa.models import Models
from joyvasa.training.clip_config import FRAMES_PER_SECOND
from joyvasa.training.clips import ClipRecord, assign_split
from joyvasa.training.extraction import ClipExtractor, count_keypoints
from joyvasa.training.segments import summarize_rejections
from manifests.record import file_stem
from manifests.storage import open_storage
from stages.base import Failed, FailureKind, Item, Ok, Outcome, Resources, Stage
from stages.failures import map_each
from stages.find_clips import ClipStageConfig, SegmentedVideo
from stages.media import local_file
from stages.recording_files import RecordingFiles, SegmentRow

MAX_WARNINGS = 3  # sentences in an outcome row; all of them are in clips.parquet


class ExtractMotionStage(Stage[ClipStageConfig]):
    """Write the accepted segments of a `SegmentedVideo` as clips, see `RecordingFiles`.

    No payload. Facts: `clips`, their `frames` and `duration_s`; `warning_codes` (distinct codes) and `warnings`
    (sentences) of rejected segments.
    """

    name = "extract_motion"
    resources = Resources(gpu=1 / 2, workers="per_gpu", time_limit_s=14_400.0)
    batch_size = 1
    unit = "frame"
    output_columns: ClassVar = {"frames": int, "duration_s": float, "warnings": str, "warning_codes": str}

    def setup(self) -> None:
        """Load the motion extractor, and the detector if it measures the openings of eyes and lips."""
        animation = self.config.animation
        models = Models(animation)
        self._keypoints = count_keypoints(models.network("motion_extractor"))
        detector = resolve_detector(animation, models.bundle)
        measured = measures(detector, "lips") and measures(detector, "eyes")
        self._extractor = ClipExtractor(
            models.motion_reader,
            landmarks=models.detector if measured else None,
        )
        self._files = RecordingFiles(open_storage(self.config.run))

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Process one recording at a time."""
        return map_each(batch, self._extract)

    def _extract(self, item: Item) -> Outcome:
        video: SegmentedVideo = item.inputs["find_clips"]
        shard, record_id = item.record.shard, item.record.id
        split = assign_split(video.sha256, self.config.clips.validation_share)
        accepted = [segment for segment in video.segments if segment.code is None]
        clip_ids = [make_clip_id(record_id, number) for number in range(len(accepted))]
        errors: dict[str, InputError] = {}
        n_frames, n_accepted = 0, sum(segment.n_frames for segment in accepted)

        def extract_clips() -> Iterator[ClipRecord]:
            nonlocal n_frames
            clips = self._extractor.extract_clips(
                path, video.info, accepted, names=clip_ids, source=video.sha256, split=split
            )
            for clip_id, clip in zip(clip_ids, clips, strict=True):
                if isinstance(clip, InputError):
                    errors[clip_id] = clip
                else:
                    n_frames += clip.n_frames
                    self.report_progress(n_frames / n_accepted, n_frames)
                    yield clip

        with local_file(item.record.require("video"), self.media_cache) as path:
            n_clips = self._files.write_clips(shard, record_id, extract_clips(), keypoints=self._keypoints)
            file_name = path.name

        # Segments whose extraction failed are rejected, too.
        remaining_ids = iter(clip_ids)
        segments, rows = [], []
        for segment in video.segments:
            clip_id = None if segment.code else next(remaining_ids)
            if clip_id in errors:
                segment, clip_id = segment.reject(errors[clip_id].code, errors[clip_id].sentence), None
            segments.append(segment)
            rows.append(SegmentRow.from_segment(segment, source=video.sha256, split=split, clip_id=clip_id))
        self._files.write_rows(shard, record_id, rows)

        if not n_clips:
            return Failed(FailureKind.BAD_INPUT, *summarize_rejections(segments, file_name))
        rejected = [segment for segment in segments if segment.code]
        sentences = [segment.sentence or "" for segment in rejected[:MAX_WARNINGS]]
        if len(rejected) > MAX_WARNINGS:
            sentences.append(f"and {len(rejected) - MAX_WARNINGS} more, see clips.parquet")
        return Ok(
            facts={
                "clips": n_clips,
                "frames": n_frames,
                "duration_s": n_frames / FRAMES_PER_SECOND,
                "warning_codes": ",".join(dict.fromkeys(segment.code or "" for segment in rejected)) or None,
                "warnings": "; ".join(sentences) or None,
            }
        )


def make_clip_id(record_id: str, number: int) -> str:
    """Return the id of a clip: letters, digits and `._-`; unique if record ids are."""
    return f"{file_stem(record_id).replace('~', '--')}-{number:05d}"
