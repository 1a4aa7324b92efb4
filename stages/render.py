"""Stage `render`: render a portrait and a motion to a video in the run folder; frames never leave the worker."""

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

MAX_QUEUED_BATCHES = 2  # rendered batches that wait for the composing thread; bounds memory


@dataclass(frozen=True, kw_only=True)
class RenderConfig(StageConfig):
    """Configuration of `RenderStage`.

    Attributes:
        run: run folder; a path or URI.
        save_motion: whether to save each motion to a file in the run folder.

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
    """A record with its output."""

    output: VideoOutput
    motion_file: tuple[str, bytes] | None  # path and content
    n_written: int = 0
    payload: VideoPayload | None = None


class RenderStage(Stage):
    """Render the video of a row from its `PortraitPayload` and `MotionPayload`, with `audio` as the soundtrack.

    Payload: `VideoPayload`. Facts: `video`, `video_bytes`, `sha256`, `frames`, `duration_s`, `width`, `height`,
    `motion_file`, `bytes`. Motion is saved here instead of in the motion stage because records of many shards can share
    a sampled motion, and each shard has its own files.

    While the networks render a batch, a thread composes and encodes the previous one.

    Args:
        config: configuration of the stage.
    """

    name = "render"
    resources = Resources(gpu=1 / 2, workers="per_gpu", all_cores=True)  # takes nearly all of the time
    batch_size = 4
    unit = "frame"
    output_columns: ClassVar = {"frames": int, "duration_s": float, "video": str, "sha256": str, "motion_file": str}

    def __init__(self, config: RenderConfig) -> None:
        self.config = config

    def setup(self) -> None:
        """Load the networks that animate and render."""
        ffmpeg_executable()
        options = self.config.animation
        check_encoder(options.encoding)
        self._folder = RunFolder(open_storage(self.config.run))
        self._models = Models(options)
        _ = self._models.renderer, self._models.fingerprint
        fixed_shape = self.config.strict or options.torch_compile  # every shape is compiled anew
        self._renderer = FrameRenderer(self._models, options.batch_frames, fixed_shape=fixed_shape)

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Render frames of several records in one call; in `strict` mode those of one record."""
        with ExitStack() as open_files:
            jobs = map_each(batch, lambda item: self._prepare(item, open_files))
            self._render([job for job in jobs if isinstance(job, _Job)])
        return map_each(jobs, self._outcome)

    def _prepare(self, item: Item, open_files: ExitStack) -> _Job:
        record, models = item.record, self._models
        portrait_payload: PortraitPayload = item.inputs["portrait"]
        motion_payload: MotionPayload = item.inputs["motion"]
        portrait, motion = portrait_payload.to_portrait(models.device), motion_payload.to_motion()
        options = self.config.for_record(record)
        shaped = models.build_controller(options).shape(motion, record.seed)
        driver = models.build_driver(portrait, shaped, options)
        keypoints = driver.keypoints(shaped)
        if not keypoints.isfinite().all():
            raise ModelError(
                "keypoints_not_finite",
                "driving keypoints: found NaN or infinity; expected finite coordinates: check the motion",
            )

        audio = record.audio
        sound = open_files.enter_context(local_file(audio, self.media_cache)) if audio else None
        shard = record.shard
        plan = VideoPlan(
            video=self._folder.video_path(shard, record.id),
            n_frames=len(motion),
            frames_per_second=motion.frames_per_second,
            sound=sound,
            sound_channels=motion_payload.sound_channels,
            comment=models.describe_video(record.seed if motion_payload.seed is None else motion_payload.seed),
        )
        composer = models.build_composer(portrait.picture, options)
        output = VideoOutput(plan, composer, self._folder.storage, options.encoding)
        open_files.callback(output.close)

        motion_file = None
        if self.config.save_motion:
            path = self._folder.motion_path(shard, record.id, SUFFIX)
            motion_file = path, serialize_motion(motion, motion_payload.provenance)
        return _Job(
            feature=portrait.feature,
            source_keypoints=driver.source_keypoints,
            keypoints=keypoints,
            output=output,
            motion_file=motion_file,
        )

    def _render(self, jobs: list[_Job]) -> None:
        options = self.config.animation
        n_frames, n_rendered = sum(job.n_frames for job in jobs), 0
        pending: deque[Future[None]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="compose") as pool:
            for parts in split_into_batches(jobs, options.batch_frames, mixed=not self.config.strict):
                for part, crops in self._renderer.render(parts):
                    assert isinstance(part.job, _Job)
                    pixels = self._fetch(part.job, crops)
                    if pixels is not None:
                        pending.append(pool.submit(self._write, part.job, pixels))
                    n_rendered += len(part)
                    self.report_progress(n_rendered / n_frames, n_rendered)
                while len(pending) > MAX_QUEUED_BATCHES:
                    pending.popleft().result()
            for future in pending:
                future.result()

    def _fetch(self, job: _Job, crops: Tensor) -> np.ndarray | None:
        """Copy pixels from the device; return None if the record has failed."""
        if not job.failure:
            try:
                return job.output.prepare(crops)
            except Exception as error:
                job.failure = classify_for_record(error)
        return None

    def _write(self, job: _Job, pixels: np.ndarray) -> None:
        """Compose and encode frames, in the thread; publish the video after the last one."""
        if job.failure:
            return
        try:
            job.output.write(pixels)
            job.n_written += len(pixels)
            if job.n_written == job.n_frames:
                if job.motion_file:
                    self._folder.storage.write(*job.motion_file)
                job.payload = job.output.publish()
        except Exception as error:
            job.failure = classify_for_record(error)
            job.output.close()

    def _outcome(self, job: _Job) -> Outcome:
        if job.failure or not job.payload:
            return job.failure or Failed(
                FailureKind.POISON, "frames_missing", "video: some of its frames were not rendered"
            )

        video = job.payload
        facts = {
            "video": video.video,
            "video_bytes": video.video_bytes,
            "sha256": video.sha256,
            "frames": video.frames,
            "duration_s": video.duration_s,
            "width": video.width,
            "height": video.height,
            "motion_file": job.motion_file[0] if job.motion_file else None,
            "bytes": 0,
        }
        return Ok(video, facts)
