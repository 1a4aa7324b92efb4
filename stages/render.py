"""Portrait and motion become a video in the run folder; frames never leave the worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from joyvasa.errors import ConfigError, ModelError
from joyvasa.media.ffmpeg import ffmpeg_executable
from joyvasa.media.video_writer import check_encoder
from joyvasa.models import Models
from joyvasa.motion.file import SUFFIX, serialize_motion
from manifests.run.folder import RunFolder
from manifests.storage import open_storage
from stages.base import Failed, FailureKind, Item, Ok, Outcome, Resources, Stage
from stages.config import StageConfig
from stages.frames import FrameRenderer, RenderJob, split_into_batches
from stages.isolation import classify_for_record, map_each
from stages.media import local_file
from stages.motion import MotionPayload
from stages.portrait import PortraitPayload
from stages.video_output import VideoOutput, VideoPayload, VideoPlan

QUEUED_BATCHES = 2  # rendered batches that may wait to be composed; bounds memory


@dataclass(frozen=True, kw_only=True)
class RenderConfig(StageConfig):
    """As `StageConfig`, and where results go.

    Attributes:
        run: the run folder; a path or URI.
        save_motion: keep each motion as a file beside the videos.

    Raises:
        ConfigError: `config_invalid`.
    """

    run: str = ""
    save_motion: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.run:
            raise ConfigError("config_invalid", "run is empty; expected the run folder, a path or URI")


@dataclass(eq=False, kw_only=True)
class _Job(RenderJob):
    """A record, its output, and what came of it."""

    output: VideoOutput
    saved: tuple[str, bytes] | None  # path and content of the motion file
    n_written: int = 0
    payload: VideoPayload | None = None


class RenderStage(Stage):
    """`PortraitPayload` and `MotionPayload` -> `VideoPayload` and a file in the run folder.

    Row: `shard`, and `audio` for the sound that is heard. Facts: `video`, `video_bytes`, `sha256`, `frames`,
    `duration_s`, `width`, `height`, `motion_file`, `bytes`. Motion is saved here and not where it is sampled,
    as a sampled motion may be shared by records of many shards, and each shard has its own files.

    The networks render while a thread composes and encodes what came before.

    Args:
        config: see `RenderConfig`.
    """

    name = "render"
    resources = Resources(gpu=1 / 2, workers="per_gpu", all_cores=True)  # nearly all of the time
    batch_size = 4
    unit = "frame"
    output_columns: ClassVar = {"frames": int, "duration_s": float, "video": str, "sha256": str, "motion_file": str}

    def __init__(self, config: RenderConfig) -> None:
        self.config = config

    def setup(self) -> None:
        """Loads the networks that drive and render."""
        ffmpeg_executable()
        options = self.config.animation
        check_encoder(options.encoding)
        self._folder = RunFolder(open_storage(self.config.run))
        self._models = Models(options)
        _ = self._models.renderer, self._models.fingerprint
        fixed_shape = self.config.strict or options.torch_compile  # each shape is compiled
        self._renderer = FrameRenderer(self._models, options.batch_frames, fixed_shape=fixed_shape)

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Renders frames of several records in one call; in `strict` mode those of one record."""
        with ExitStack() as open_files:
            jobs = map_each(batch, lambda item: self._prepare(item, open_files))
            self._render([job for job in jobs if isinstance(job, _Job)])
        return map_each(jobs, self._outcome)

    def _prepare(self, item: Item, open_files: ExitStack) -> _Job:
        record, models = item.record, self._models
        portrait_payload: PortraitPayload = item.inputs["portrait"]
        motion_payload: MotionPayload = item.inputs["motion"]
        portrait, motion = portrait_payload.to_portrait(models.device), motion_payload.to_motion()
        driver = models.build_driver(portrait, motion)
        keypoints = driver.keypoints(motion)
        if not keypoints.isfinite().all():
            raise ModelError(
                "keypoints_not_finite",
                "driving keypoints: found NaN or infinity; expected finite coordinates: check the motion",
            )
        audio = record.audio
        sound = open_files.enter_context(local_file(audio)) if audio else None
        shard = record.shard
        plan = VideoPlan(
            video=self._folder.video_path(shard, record.id),
            n_frames=len(motion),
            frames_per_second=motion.frames_per_second,
            sound=sound,
            comment=models.describe_video(record.seed if motion_payload.seed is None else motion_payload.seed),
        )
        composer = models.build_composer(portrait.picture)
        output = VideoOutput(plan, composer, self._folder.storage, self.config.animation.encoding)
        open_files.callback(output.close)
        saved = None
        if self.config.save_motion:
            path = self._folder.motion_path(shard, record.id, SUFFIX)
            saved = path, serialize_motion(motion, motion_payload.provenance)
        return _Job(
            feature=portrait.feature,
            source_keypoints=driver.source_keypoints,
            keypoints=keypoints,
            output=output,
            saved=saved,
        )

    def _render(self, jobs: list[_Job]) -> None:
        options = self.config.animation
        waiting: deque[Future[None]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="compose") as pool:
            for parts in split_into_batches(jobs, options.batch_frames, mixed=not self.config.strict):
                for part, crops in self._renderer.render(parts):
                    assert isinstance(part.playing, _Job)
                    prepared = self._fetch(part.playing, crops)
                    if prepared is not None:
                        waiting.append(pool.submit(self._deliver, part.playing, prepared))
                while len(waiting) > QUEUED_BATCHES:
                    waiting.popleft().result()
            for future in waiting:
                future.result()

    def _fetch(self, job: _Job, crops: Tensor) -> np.ndarray | None:
        """Pixels for the thread; None where the record has failed."""
        if not job.failure:
            try:
                return job.output.prepare(crops)
            except Exception as error:  # sorted: what it means for this record
                job.failure = classify_for_record(error)
        return None

    def _deliver(self, job: _Job, prepared: np.ndarray) -> None:
        """Runs in the thread: composes and encodes frames; publishes with the last one."""
        if job.failure:
            return
        try:
            job.output.write(prepared)
            job.n_written += len(prepared)
            if job.n_written == job.n_frames:
                if job.saved:
                    self._folder.storage.write(*job.saved)
                job.payload = job.output.publish()
        except Exception as error:  # sorted: what it means for this record
            job.failure = classify_for_record(error)
            job.output.close()

    def _outcome(self, job: _Job) -> Outcome:
        if job.failure or not job.payload:
            return job.failure or Failed(FailureKind.POISON, "frames_missing", "video: some of its frames were not rendered")
        made = job.payload
        facts = {
            "video": made.video,
            "video_bytes": made.video_bytes,
            "sha256": made.sha256,
            "frames": made.frames,
            "duration_s": made.duration_s,
            "width": made.width,
            "height": made.height,
            "motion_file": job.saved[0] if job.saved else None,
            "bytes": 0,
        }
        return Ok(made, facts)
