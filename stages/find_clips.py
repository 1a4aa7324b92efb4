"""Recordings are watched: where a face can be followed, and where not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from joyvasa.errors import InputError
from joyvasa.faces.cascade import CascadeDetector
from joyvasa.faces.detection import FaceDetector
from joyvasa.media.video_reader import VideoInfo, probe_video
from joyvasa.models import AnimationConfig, Models
from joyvasa.runtime.files import sha256_of
from joyvasa.training.clip_config import ClipConfig
from joyvasa.training.clips import assign_split
from joyvasa.training.media_stream import measure_windows, sound_delay_s
from joyvasa.training.segments import Segment, find_segments, summary
from manifests.storage import open_storage
from stages.base import Failed, FailureKind, Item, Ok, Outcome, Resources, Stage
from stages.isolation import map_each
from stages.media import local_file
from stages.recording_files import RecordingFiles, SegmentRow

STRETCH_BYTES = 256  # of a pickled stretch, about


@dataclass(frozen=True, kw_only=True)
class FindClipsConfig:
    """What is looked for.

    Attributes:
        run: the folder of the data set; a path or URI.
        animation: models, device and detector.
        clips: what part of a recording becomes a clip.
    """

    run: str
    animation: AnimationConfig = field(default_factory=AnimationConfig)
    clips: ClipConfig = field(default_factory=ClipConfig)


@dataclass(frozen=True)
class SegmentedVideo:
    """A recording and its stretches.

    Attributes:
        sha256: of the file.
        info: size, rate, sound.
        delay_s: when its sound begins, seconds after time 0 of the file.
        stretches: in order, rejected ones, too; at least one is not.
    """

    sha256: str
    info: VideoInfo
    delay_s: float
    stretches: tuple[Segment, ...]


class FindClipsStage(Stage):
    """Row `source_video` -> `WatchedVideo`.

    Facts: `sha256`, `bytes`.

    The recording is decoded as a stream; kept are its stretches, a line each. Of a recording without a clip these are
    written down here, else by the next stage.

    Args:
        config: see `FindClipsConfig`.
    """

    name = "find_clips"
    resources = Resources(gpu=1 / 4, workers="per_gpu", time_limit_s=14_400.0)
    batch_size = 1
    columns: ClassVar = {"sha256": str}

    def __init__(self, config: FindClipsConfig) -> None:
        self.config = config

    def setup(self) -> None:
        """Loads the detector."""
        self._detector = Models(self.config.animation).detector
        self._parts = RecordingFiles(open_storage(self.config.run))

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Watches one recording after another."""
        return map_each(batch, self._watch)

    def _watch(self, item: Item) -> Outcome:
        record = item.record
        with local_file(record.require("video")) as path:
            info = probe_video(path)
            if not info.has_sound:
                raise InputError("sound_missing", f"{path}: no sound stream; expected a video with speech: add it")
            digest, delay_s = sha256_of(path), sound_delay_s(path)
            stretches = self._stretches(path, info, delay_s)
        if all(one.code for one in stretches):
            split = assign_split(digest, self.config.clips.validation_share)
            rows = [SegmentRow.of(one, source=digest, split=split) for one in stretches]
            self._parts.write_rows(record.shard, item.record.id, rows)
            return Failed(FailureKind.BAD_INPUT, *summary(stretches, path.name))
        payload = SegmentedVideo(digest, info, delay_s, tuple(stretches))
        return Ok(payload, {"sha256": digest, "bytes": STRETCH_BYTES * len(stretches)})

    def _stretches(self, path: Path, info: VideoInfo, delay_s: float) -> list[Segment]:
        clips, min_side = self.config.clips, self.config.animation.face.min_side
        windows = measure_windows(path, info, self._detector_for(info), clips, delay_s=delay_s, min_side=min_side)
        return [stretch for window in windows for stretch in find_segments(window, clips, name=path.name)]

    def _detector_for(self, info: VideoInfo) -> FaceDetector | None:
        if not isinstance(self._detector, CascadeDetector):
            return self._detector
        # Most of a cascade's time goes into the smallest faces, which are ignored here.
        config = self._detector.config
        least = self.config.animation.face.min_side / min(info.width, info.height)
        return CascadeDetector(replace(config, min_fraction=max(config.min_fraction, least)))
