"""Stage `render`: render a portrait and a motion to a video in the run folder; frames never leave the worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from joyvasa.errors import InputWarning, ModelError
from joyvasa.media.ffmpeg import ffmpeg_executable
from joyvasa.media.video_writer import check_encoder
from joyvasa.models import Models
from joyvasa.motion.file import SUFFIX, serialize_motion
from joyvasa.motion.sequence import MotionSequence
from joyvasa.options import AnimationConfig
from joyvasa.rendering.portrait import Picture
from manifests.run.folder import RunFolder
from manifests.storage import open_storage
from stages.base import WARNING_COLUMNS, Failed, FailureKind, Item, Ok, Outcome, Resources, Stage, warning_facts
from stages.config import StageConfig
from stages.failures import classify_for_record, map_each
from stages.frames import FrameRenderer, RenderJob, VideoOutput, split_into_batches
from stages.media import local_file
from stages.motion import MotionPayload
from stages.portrait import PortraitPayload
from stages.verify_output import VideoPayload

MAX_QUEUED_BATCHES = 2  # rendered batches that wait for the composing thread; bounds memory


@dataclass(frozen=True, kw_only=True)
class RenderConfig(StageConfig):
    """Configuration of `RenderStage`."""

    run: str  # run folder; a path or URI
    save_motion: bool = False  # whether to save each motion to a file in the run folder


@dataclass(eq=False, kw_only=True)
class _Output:
    """The output of a record."""

    output: VideoOutput
    motion_file: tuple[str, bytes] | None  # path and content
    warnings: tuple[InputWarning, ...] = ()
    n_written: int = 0
    payload: VideoPayload | None = None
    failure: Failed | None = None


@dataclass(eq=False, kw_only=True)
class _Job(RenderJob, _Output):
    """A portrait to animate."""


@dataclass(eq=False, kw_only=True)
class _VideoJob(_Output):
    """A source video to animate, frame by frame."""

    frames: Iterator[np.ndarray]


class RenderStage(Stage[RenderConfig]):
    """Render the video of a row from its `PortraitPayload` and `MotionPayload`, and add its soundtrack.

    The soundtrack is `audio`, or the sound of the driving video.

    Payload: `VideoPayload`, whose fields are also facts. Further facts: `duration_s`, `motion_file`, `warnings`,
    `warning_codes`, `bytes`. Motion is saved here instead of in the motion stage because records of many shards can
    share a sampled motion, and each shard has its own files.

    While the networks render a batch, a thread composes and encodes the previous one. A source video is rendered alone,
    in batches of its frames.
    """

    name = "render"
    resources = Resources(gpu=1 / 2, workers="per_gpu", all_cores=True)  # takes nearly all of the time
    batch_size = 4
    unit = "frame"
    columns: ClassVar = WARNING_COLUMNS
    output_columns: ClassVar = {"frames": int, "duration_s": float, "video": str, "sha256": str, "motion_file": str}

    def setup(self) -> None:
        """Load the networks that animate and render."""
        ffmpeg_executable()
        options = self.config.animation
        check_encoder(options.encoding)
        self._folder = RunFolder(open_storage(self.config.run))
        self._models = Models(options)
        _ = self._models.renderer, self._models.fingerprint
        fixed_shape = self.config.strict or options.torch_compile  # every shape is compiled anew
        self._renderer = FrameRenderer(self._models, self._models.batch_frames, fixed_shape=fixed_shape)

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Render frames of several records in one call; in `strict` mode those of one record."""
        with ExitStack() as open_files:
            jobs = map_each(batch, lambda item: self._prepare(item, open_files))
            self._n_rendered = 0
            self._n_frames = sum(job.output.n_frames for job in jobs if isinstance(job, _Output))
            self._render([job for job in jobs if isinstance(job, _Job)])
            for job in jobs:
                if isinstance(job, _VideoJob):
                    self._render_video(job)
        return map_each(jobs, self._outcome)

    def _prepare(self, item: Item, open_files: ExitStack) -> _Job | _VideoJob:
        portrait_payload: PortraitPayload = item.inputs["portrait"]
        motion_payload: MotionPayload = item.inputs["motion"]
        options = self.config.for_record(item.record)
        controller = self._models.build_controller(options)
        source, motion = portrait_payload.source, motion_payload.to_motion()
        if source:
            path = open_files.enter_context(local_file(item.record.require("image"), self.media_cache))
            source = replace(source, frames=replace(source.frames, path=path))
            motion, warnings = source.fit_motion(motion)
            frames = self._models.render_source_video(source, controller.shape(motion, item.record.seed), options)
            picture = replace(portrait_payload.picture, crop=None)  # frames are composed already
            fields = self._open_output(item, options, picture, motion, open_files)
            return _VideoJob(frames=frames, warnings=warnings, **fields)

        portrait = portrait_payload.to_portrait(self._models.device)
        shaped = controller.shape(motion, item.record.seed)
        driver = self._models.build_driver(portrait, shaped, options)
        keypoints = driver.keypoints(shaped)
        if not keypoints.isfinite().all():
            raise ModelError(
                "keypoints_not_finite",
                "driving keypoints: found NaN or infinity; expected finite coordinates: check the motion",
            )
        return _Job(
            feature=portrait.feature,
            source_keypoints=driver.source_keypoints,
            keypoints=keypoints,
            **self._open_output(item, options, portrait.picture, motion, open_files),
        )

    def _open_output(
        self, item: Item, options: AnimationConfig, picture: Picture, motion: MotionSequence, open_files: ExitStack
    ) -> dict[str, Any]:
        """Return the fields of `_Output` of a record."""
        record, models = item.record, self._models
        motion_payload: MotionPayload = item.inputs["motion"]
        location = motion_payload.find_sound(record)
        sound = open_files.enter_context(local_file(location, self.media_cache)) if location else None
        output = VideoOutput(
            storage=self._folder.storage,
            video=self._folder.video_path(record.shard, record.id),
            composer=models.build_composer(picture, options),
            n_frames=len(motion),
            frames_per_second=motion.frames_per_second,
            sound=sound,
            sound_channels=motion_payload.sound_channels,
            sound_clock="samples" if record.audio else "file",
            encoding=options.encoding,
            comment=models.describe_video(record.seed if motion_payload.seed is None else motion_payload.seed),
        )
        open_files.callback(output.close)

        motion_file = None
        if self.config.save_motion:
            path = self._folder.motion_path(record.shard, record.id, SUFFIX)
            motion_file = path, serialize_motion(motion, motion_payload.provenance)
        return {"output": output, "motion_file": motion_file}

    def _render_video(self, job: _VideoJob) -> None:
        """Render a source video; an error is that of its record."""
        try:
            for frames in job.frames:
                self._write(job, frames)
                self._count_rendered(len(frames))
                if job.failure:
                    return
        except Exception as error:
            job.failure = classify_for_record(error)
            job.output.close()

    def _render(self, jobs: list[_Job]) -> None:
        pending: deque[Future[None]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="compose") as pool:
            for parts in split_into_batches(jobs, self._models.batch_frames, mixed=not self.config.strict):
                for part, crops in self._renderer.render(parts):
                    assert isinstance(part.job, _Job)
                    pixels = self._fetch(part.job, crops)
                    if pixels is not None:
                        pending.append(pool.submit(self._write, part.job, pixels))
                    self._count_rendered(len(part))
                while len(pending) > MAX_QUEUED_BATCHES:
                    pending.popleft().result()
            for future in pending:
                future.result()

    def _count_rendered(self, n_frames: int) -> None:
        self._n_rendered += n_frames
        self.report_progress(self._n_rendered / self._n_frames, self._n_rendered)

    def _fetch(self, job: _Job, crops: Tensor) -> np.ndarray | None:
        """Copy pixels from the device; return None if the record has failed."""
        if not job.failure:
            try:
                return job.output.composer.prepare(crops)
            except Exception as error:
                job.failure = classify_for_record(error)
        return None

    def _write(self, job: _Job | _VideoJob, pixels: np.ndarray) -> None:
        """Compose and encode frames, in the thread; publish the video after the last one."""
        if job.failure:
            return
        try:
            job.output.write(pixels)
            job.n_written += len(pixels)
            if job.n_written == job.output.n_frames:
                if job.motion_file:
                    self._folder.storage.write(*job.motion_file)
                job.payload = job.output.publish()
        except Exception as error:
            job.failure = classify_for_record(error)
            job.output.close()

    def _outcome(self, job: _Job | _VideoJob) -> Outcome:
        if job.failure or not job.payload:
            return job.failure or Failed(
                FailureKind.POISON, "frames_missing", "video: some of its frames were not rendered"
            )

        video = job.payload
        facts = {
            **asdict(video),
            "duration_s": video.duration_s,
            "motion_file": job.motion_file[0] if job.motion_file else None,
            **warning_facts(job.warnings),
            "bytes": 0,
        }
        return Ok(video, facts)
