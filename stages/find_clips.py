"""Stage `find_clips`: find the segments of a recording in which one face can be tracked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from joyvasa.errors import InputError
from joyvasa.media.video_reader import VideoInfo, probe_video
from joyvasa.models import Models
from joyvasa.options import AnimationConfig
from joyvasa.runtime.files import hash_file
from joyvasa.training.clip_config import FRAMES_PER_SECOND, ClipConfig
from joyvasa.training.clips import assign_split
from joyvasa.training.media_stream import measure_windows
from joyvasa.training.segments import Segment, find_segments, summarize_rejections
from manifests.storage import open_storage
from stages.base import Failed, FailureKind, Item, Ok, Outcome, Resources, Stage
from stages.failures import map_each
from stages.media import local_file
from stages.recording_files import RecordingFiles, SegmentRow

SEGMENT_BYTES = 256  # approximate size of a pickled segment


@dataclass(frozen=True, kw_only=True)
class ClipStageConfig:
    """Configuration of the stages that prepare a data set."""

    run: str  # folder of the data set; a path or URI
    animation: AnimationConfig = field(default_factory=AnimationConfig)  # models, device, precision and detector
    clips: ClipConfig = field(default_factory=ClipConfig)  # requirements for clips


@dataclass(frozen=True)
class SegmentedVideo:
    """A recording and its segments."""

    sha256: str  # SHA-256 of the file
    info: VideoInfo  # frame size, frame rate and sound of the video
    segments: tuple[Segment, ...]  # all segments in order, rejected ones included; at least one is accepted


class FindClipsStage(Stage[ClipStageConfig]):
    """Find segments with one trackable face in `video` of a row.

    Payload: `SegmentedVideo`. Facts: `sha256`, `bytes`, `seconds` of the recording.

    The recording is decoded as a stream. If all its segments are rejected, their rows are written here; otherwise the
    next stage writes them.
    """

    name = "find_clips"
    resources = Resources(gpu=1 / 4, workers="per_gpu", time_limit_s=14_400.0)
    batch_size = 1
    unit = "second"
    columns: ClassVar = {"sha256": str}

    def setup(self) -> None:
        """Load the face detector."""
        self._detector = Models(self.config.animation).detector
        self._files = RecordingFiles(open_storage(self.config.run))

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Process one recording at a time."""
        return map_each(batch, self._find)

    def _find(self, item: Item) -> Outcome:
        record = item.record
        with local_file(record.require("video"), self.media_cache) as path:
            info = probe_video(path)
            if not info.has_sound:
                raise InputError("sound_missing", f"{path}: no sound stream; expected a video with speech: add it")
            digest = hash_file(path)
            segments = self._find_segments(path, info)

        if all(segment.code for segment in segments):
            split = assign_split(digest, self.config.clips.validation_share)
            rows = [SegmentRow.from_segment(segment, source=digest, split=split) for segment in segments]
            self._files.write_rows(record.shard, record.id, rows)
            return Failed(FailureKind.BAD_INPUT, *summarize_rejections(segments, path.name))

        payload = SegmentedVideo(digest, info, tuple(segments))
        seconds = max(segment.first + segment.n_frames for segment in segments) / FRAMES_PER_SECOND
        return Ok(payload, {"sha256": digest, "bytes": SEGMENT_BYTES * len(segments), "seconds": seconds})

    def _find_segments(self, path: Path, info: VideoInfo) -> list[Segment]:
        clips, min_side = self.config.clips, self.config.animation.face.min_side

        def report_frames(n_frames: int) -> None:
            seconds = n_frames / FRAMES_PER_SECOND
            fraction = seconds / info.duration_s if info.duration_s else 0.0  # without a duration, only seconds show
            self.report_progress(min(1.0, fraction), seconds)

        windows = measure_windows(path, info, self._detector, clips, min_side=min_side, on_frames=report_frames)
        return [segment for window in windows for segment in find_segments(window, clips, name=path.name)]
