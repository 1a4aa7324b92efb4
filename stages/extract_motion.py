"""Watched recordings become clips of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from joyvasa.errors import InputError
from joyvasa.faces.registry import detector_roles
from joyvasa.models import AnimationConfig, Models, detector_name
from joyvasa.training.clip_config import FRAMES_PER_SECOND, ClipConfig
from joyvasa.training.clips import ClipRecord, assign_split
from joyvasa.training.extraction import ClipExtractor, count_keypoints
from joyvasa.training.segments import summary
from manifests.record import file_stem
from manifests.storage import open_storage
from stages.base import Failed, FailureKind, Item, Ok, Outcome, Resources, Stage
from stages.find_clips import SegmentedVideo
from stages.isolation import map_each
from stages.media import local_file
from stages.recording_files import RecordingFiles, SegmentRow

SHOWN = 3  # sentences of a row; all of them are in the table of clips


@dataclass(frozen=True, kw_only=True)
class ExtractMotionConfig:
    """How motion is read.

    Attributes:
        run: the folder of the data set; a path or URI.
        animation: models, device, precision and frames of a batch.
        clips: as `FindClipsConfig`.
    """

    run: str
    animation: AnimationConfig = field(default_factory=AnimationConfig)
    clips: ClipConfig = field(default_factory=ClipConfig)


class ExtractMotionStage(Stage):
    """`WatchedVideo` -> nothing; the clips are in the folder of the data set, see `ClipParts`.

    Facts: `clips`, their `frames` and `duration_s`; `warning_codes` (each once) and `warnings` (sentences) of what was
    rejected.

    Args:
        config: see `ExtractMotionConfig`.
    """

    name = "extract_motion"
    resources = Resources(gpu=1 / 2, workers="per_gpu", time_limit_s=14_400.0)
    batch_size = 1
    output_columns: ClassVar = {"frames": int, "duration_s": float, "warnings": str, "warning_codes": str}

    def __init__(self, config: ExtractMotionConfig) -> None:
        self.config = config

    def setup(self) -> None:
        """Loads the motion extractor, and the detector where it gives the openings of eyes and lips."""
        animation = self.config.animation
        models = Models(animation)
        network = models.network("motion_extractor")
        detector = detector_name(animation, models.bundle)
        self._keypoints = count_keypoints(network)
        self._reader = ClipExtractor(
            network,
            input_size=models.bundle.switches.input_size,
            device=models.device,
            precision=animation.precision,
            batch_frames=animation.batch_frames,
            landmarks=models.detector if "landmarks203" in detector_roles(detector) else None,
        )
        self._parts = RecordingFiles(open_storage(self.config.run))

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Reads one recording after another."""
        return map_each(batch, self._extract)

    def _extract(self, item: Item) -> Outcome:
        video: SegmentedVideo = item.inputs["find_clips"]
        shard, record_id = item.record.shard, item.record.id
        split = assign_split(video.sha256, self.config.clips.validation_share)
        good = [one for one in video.stretches if one.code is None]
        names = [clip_id_for(record_id, number) for number in range(len(good))]
        failed: dict[str, InputError] = {}
        n_frames = 0

        def made() -> Iterator[ClipRecord]:
            nonlocal n_frames
            found = self._reader.clips(
                path, video.info, good, delay_s=video.delay_s, names=names, source=video.sha256, split=split
            )
            for name, clip in zip(names, found, strict=True):
                if isinstance(clip, InputError):
                    failed[name] = clip
                else:
                    n_frames += clip.n_frames
                    yield clip

        with local_file(item.record.require("video")) as path:
            n_clips = self._parts.write_clips(shard, record_id, made(), keypoints=self._keypoints)
            shown = path.name
        waiting = iter(names)
        stretches, rows = [], []
        for stretch in video.stretches:
            name = None if stretch.code else next(waiting)
            if name in failed:
                stretch, name = stretch.rejected(failed[name].code, failed[name].sentence), None
            stretches.append(stretch)
            rows.append(SegmentRow.of(stretch, source=video.sha256, split=split, clip_id=name))
        self._parts.write_rows(shard, record_id, rows)
        if not n_clips:
            return Failed(FailureKind.BAD_INPUT, *summary(stretches, shown))
        told = [one for one in stretches if one.code]
        sentences = [one.sentence or "" for one in told[:SHOWN]]
        if len(told) > SHOWN:
            sentences.append(f"and {len(told) - SHOWN} more, see clips.parquet")
        return Ok(
            facts={
                "clips": n_clips,
                "frames": n_frames,
                "duration_s": n_frames / FRAMES_PER_SECOND,
                "warning_codes": ",".join(dict.fromkeys(one.code or "" for one in told)) or None,
                "warnings": "; ".join(sentences) or None,
            }
        )


def clip_id_for(record_id: str, number: int) -> str:
    """The id of a clip: letters, digits and `._-`, unique where the ids of records are."""
    return f"{file_stem(record_id).replace('~', '--')}-{number:05d}"
