"""Stage `score`: compute the metrics of a video."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from joyvasa.config import apply_options
from joyvasa.errors import InputError
from joyvasa.metrics import METRICS_BUNDLE
from joyvasa.metrics.base import Clip, NotMeasured
from joyvasa.metrics.metric_set import ClipScores, MetricSet, explain_exception
from joyvasa.metrics.support.reference_frame import build_clip
from joyvasa.mode import Mode
from joyvasa.models import Models
from joyvasa.options import AnimationConfig
from manifests.run.folder import RunFolder
from manifests.storage import Storage, open_storage
from stages.base import Fact, Failed, FailureKind, Item, Ok, Outcome, Resources, Stage
from stages.failures import classify_for_record, map_each
from stages.media import local_file
from stages.media_cache import MediaCacheConfig
from stages.motion import MotionPayload
from stages.portrait import PortraitPayload
from stages.read_video import ExistingVideo
from stages.verify_output import VideoPayload


@contextmanager
def _open_generated_clip(
    item: Item, storage: Storage, models: Models, cache: MediaCacheConfig | None
) -> Generator[Clip]:
    """Yield the clip of a video that this run generated."""
    video: VideoPayload = item.inputs["render"]
    portrait: PortraitPayload = item.inputs["portrait"]
    motion: MotionPayload = item.inputs["motion"]
    record = item.record
    mode: Mode = record.mode  # type: ignore[assignment]  (checked by the scan)
    options = apply_options(models.config.for_mode(mode), record.options)
    controller = models.build_controller(options)
    sound, sequence = motion.find_sound(record), motion.to_motion()
    if portrait.source:
        sequence, _ = portrait.source.fit_motion(sequence)

    with ExitStack() as files:
        yield build_clip(
            portrait.picture,
            models.build_composer(portrait.picture, options),
            models.bundle.switches,
            options,
            source_moves=portrait.source is not None,
            video=files.enter_context(local_file(storage.location(video.video))),
            frames_per_second=video.frames_per_second,
            width=video.width,
            height=video.height,
            has_sound=sound is not None,
            sound=files.enter_context(local_file(sound, cache)) if sound else None,
            sound_clock="samples" if record.audio else "file",
            motion=controller.displace(controller.shape(sequence, record.seed)),
            mode=record.mode,
            seed=record.seed,
        )


@contextmanager
def _open_existing_clip(item: Item, cache: MediaCacheConfig | None) -> Generator[Clip]:
    """Yield the clip of an existing video."""
    video: ExistingVideo = item.inputs["read_video"]
    record = item.record

    with ExitStack() as files:
        yield Clip(
            video=files.enter_context(local_file(record.require("video"), cache)),
            frames_per_second=float(video.info.frames_per_second),
            width=video.info.width,
            height=video.info.height,
            has_sound=video.info.has_sound,
            sound=files.enter_context(local_file(record.audio, cache)) if record.audio else None,
            reference_frame=video.image,
            face_box=video.face_box,
            mode=record.mode,
            seed=record.seed,
        )


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """Configuration of `ScoreStage`."""

    run: str  # run folder; a path or URI
    metrics: tuple[str, ...] = ()  # metric names from `joyvasa.metrics.METRIC_NAMES`
    models: str = METRICS_BUNDLE  # bundle with the weights of metrics, a name or a folder
    device: str = "auto"  # device of these weights
    animation: AnimationConfig = field(default_factory=AnimationConfig)  # options that the videos were generated with


class ScoreStage(Stage[ScoreConfig]):
    """Compute the metrics of a generated video (`VideoPayload`, portrait, motion) or an existing one (`ExistingVideo`).

    No payload. Facts: `metric.COLUMN`, a number or None; `metric.COLUMN.reason` if it is None; `frames` decoded and
    their `duration_s`.

    Each video is decoded once for all metrics. A metric that fails has no numbers and does not affect others. If a
    generated video cannot be read, all numbers are missing but the record is ok; an existing video that cannot be read
    fails its record. Features for metrics of whole data sets are saved in the run folder and replace those of an
    earlier attempt.
    """

    name = "score"
    resources = Resources(workers="per_gpu")  # one worker scores about as fast as one GPU renders
    unit = "frame"
    output_columns: ClassVar = {"frames": int, "duration_s": float}

    def setup(self) -> None:
        """Load the metrics whose weights are present and licensed."""
        self._folder = RunFolder(open_storage(self.config.run))
        self._metrics = MetricSet(
            self.config.metrics,
            models=self.config.models,
            device=self.config.device,
            commercial=self.config.animation.licenses == "commercial",
            explain=_explain_failure,
        )
        # Used to compose still frames only, which needs no GPU.
        self._models = Models(replace(self.config.animation, device="cpu")) if self._metrics.metrics else None

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Measure one video at a time."""
        n_frames = [0] * len(batch)  # measured frames of each video

        def score(numbered: tuple[int, Item]) -> Outcome:
            number, item = numbered
            video: VideoPayload | None = item.inputs.get("render")  # the length of existing videos is unknown

            def count_frames(n: int) -> None:
                n_frames[number] = n
                self.report_progress((number + (n / video.frames if video else 0)) / len(batch), sum(n_frames))

            return self._score(item, count_frames)

        return map_each(enumerate(batch), score)

    def _score(self, item: Item, on_frames: Callable[[int], object]) -> Outcome:
        if not self._metrics.metrics:
            return Ok(facts=_facts(self._metrics.empty_scores()))
        with self._clip(item) as clip:
            try:
                scores = self._metrics.measure(clip, on_frames=on_frames)
            except InputError as error:
                if "read_video" in item.inputs:
                    return Failed(FailureKind.BAD_INPUT, error.code, error.sentence)
                scores = self._metrics.empty_scores(NotMeasured(error.code, error.sentence))

        path = self._folder.features_path(item.record.shard, item.record.id)
        if scores.features:
            self._folder.storage.write(path, encode_features(scores.features))
        else:
            self._folder.storage.remove(path)
        duration_s = scores.n_frames / clip.frames_per_second if scores.n_frames else None
        return Ok(facts={**_facts(scores), "duration_s": duration_s})

    def _clip(self, item: Item) -> AbstractContextManager[Clip]:
        if "read_video" in item.inputs:
            return _open_existing_clip(item, self.media_cache)
        assert self._models is not None, "set if there are metrics"
        return _open_generated_clip(item, self._folder.storage, self._models, self.media_cache)


def encode_features(features: Mapping[str, np.ndarray]) -> bytes:
    """Return named arrays as the content of an `.npz` file; equal arrays give equal bytes."""
    sink = io.BytesIO()
    np.savez(sink, **{name: features[name] for name in sorted(features)})  # type: ignore[arg-type]
    return sink.getvalue()


def _explain_failure(error: Exception) -> NotMeasured:
    """Return the reason why a metric that raised has no number.

    Raises:
        OSError: the disk is full, which stops the run; it can be resumed.
        Exception: the error made the process unusable.
    """
    failure = classify_for_record(error)
    if failure.kind is FailureKind.STOP:
        raise error
    if failure.kind is FailureKind.OUT_OF_MEMORY:
        return NotMeasured(failure.code, failure.sentence)
    return explain_exception(error)


def _facts(scores: ClipScores) -> dict[str, Fact]:
    facts: dict[str, Fact] = {"frames": scores.n_frames or None}
    facts |= {f"metric.{column}": value for column, value in scores.values.items()}
    return facts | {
        f"metric.{column}.reason": f"{reason.code}: {reason.sentence}" for column, reason in scores.reasons.items()
    }
