"""Make videos on one device; models stay loaded from one video to the next."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from PIL import Image

from joyvasa.animator import Animation, Animator
from joyvasa.errors import EnvironmentFault, InputError
from joyvasa.media.video_reader import probe_video
from joyvasa.metrics import FVD, METRIC_NAMES
from joyvasa.metrics.metric_set import MetricSet
from joyvasa.metrics.support.reference_frame import build_clip
from joyvasa.models import Models
from joyvasa.options import AnimationConfig
from joyvasa.rendering.source_video import is_source_video
from pipelines.web.columns import get_rank
from pipelines.web.jobs import FinishedVideo, Job, MetricResult, TimeEstimator
from pipelines.web.limits import Limits
from pipelines.web.shell_command import build_animate_command

LOADING = "loading"
MAX_RATE = 60  # frames per second; a motion with more frames than the longest recording has is refused


class DeviceWorker:
    """Makes videos on one device, one after the other."""

    def __init__(self, device: str, estimator: TimeEstimator, limits: Limits) -> None:
        self._device, self._estimator = device, estimator
        self._max_frames = round(limits.sound_s * MAX_RATE)
        self._loaded: dict[str, Models] = {}  # by mode
        self._metrics: MetricSet | None = None

    def make_video(self, job: Job) -> FinishedVideo:
        """Make the video of a job and compute its metrics.

        Raises:
            JoyvasaError: the same errors as `joyvasa animate`.
            JobCancelled: the job was cancelled.
        """
        config = replace(job.config, device=self._device)
        job.advance(LOADING, 0, 0)
        try:
            return self._run_job(job, self._load_animator(config))
        except RuntimeError as error:
            if "out of memory" not in str(error).lower():
                raise
            self._loaded.clear()
            sentence = f"{self._device}: out of memory: use a shorter recording, or a lower batch_frames"
            raise EnvironmentFault("out_of_memory", sentence) from error

    def _load_animator(self, config: AnimationConfig) -> Animator:
        loaded = self._loaded.get(config.mode) or next(iter(self._loaded.values()), None)
        animator = Animator(config, models=loaded)
        models = self._loaded[config.mode] = animator.models
        _ = models.detector, models.encoder, models.motion_model, models.renderer  # they load on first access
        return animator

    def _run_job(self, job: Job, animator: Animator) -> FinishedVideo:
        config, started = animator.config, time.monotonic()
        job.advance("motion", 0, 0)
        step = job.step

        def advance(name: str, done: int, total: int | None) -> None:
            nonlocal step
            if max(done, total or 0) > self._max_frames:
                limit = f"{self._max_frames:,} frames, the limit of this page"
                raise InputError("upload_too_long", f"{job.files['motion']}: has more than {limit}: cut it")
            if name != step:
                self._estimator.record(step, time.monotonic() - job.step_started, job.duration_s)
                step = name
            job.advance(name, done, total or 0)

        files = job.files
        output = job.folder / "video.mp4"
        animation = animator.animate(
            files["portrait"], files.get("sound"), output, motion=files.get("motion"), on_progress=advance
        )
        elapsed_s = time.monotonic() - started

        advance("metrics", 0, animation.n_frames)
        self._metrics = self._metrics or MetricSet(
            [name for name in METRIC_NAMES if name != FVD],
            device=self._device,
            commercial=config.licenses == "commercial",
        )
        results = _measure_animation(
            self._metrics,
            animation,
            files.get("sound"),
            animator.models,
            is_source_video(files["portrait"]),
            lambda done: advance("metrics", done, animation.n_frames),
        )
        self._estimator.record("metrics", time.monotonic() - job.step_started, job.duration_s)

        source = job.folder / "source.jpg"
        Image.fromarray(animation.picture.image).save(source, quality=90)
        return FinishedVideo(
            video=animation.path,
            source=source,
            n_frames=animation.n_frames,
            duration_s=animation.duration_s,
            width=animation.width,
            height=animation.height,
            elapsed_s=elapsed_s,
            metrics=results,
            warnings=animation.warnings,
            command=build_animate_command(job.names, job.config),
        )


def _measure_animation(
    metrics: MetricSet,
    animation: Animation,
    sound: Path | None,
    models: Models,
    source_moves: bool,
    on_frames: Callable[[int], object],
) -> list[MetricResult]:
    """Compute the metrics of a video, in the order in which the page shows them."""
    controller = models.build_controller()
    clip = build_clip(
        animation.picture,
        models.build_composer(animation.picture),
        models.bundle.switches,
        models.config,
        source_moves=source_moves,
        video=animation.path,
        frames_per_second=animation.frames_per_second,
        width=animation.width,
        height=animation.height,
        has_sound=sound is not None or probe_video(animation.path).has_sound,
        sound=sound,
        motion=controller.displace(controller.shape(animation.motion, animation.seed)),
        mode=models.config.mode,
        seed=animation.seed,
    )
    scores = metrics.measure(clip, on_frames=on_frames)
    reasons = {name: reason.sentence for name, reason in scores.reasons.items()}
    columns = sorted(metrics.columns, key=lambda column: get_rank(column.name))
    return [MetricResult(column, scores.values[column.name], reasons.get(column.name, "")) for column in columns]
