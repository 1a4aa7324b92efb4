"""One device with its models, which stay loaded from one video to the next."""

from __future__ import annotations

import time
from dataclasses import replace

from PIL import Image

from joyvasa.animator import Animator
from joyvasa.errors import EnvironmentFault
from joyvasa.metrics import FVD, METRIC_NAMES
from joyvasa.metrics.metric_set import MetricSet
from joyvasa.models import AnimationConfig, Models
from pipelines.web.jobs import Job, Made
from pipelines.web.measuring import measure_animation
from pipelines.web.pace import Pace
from pipelines.web.shell import animate_command

LOADING = "loading"


class Studio:
    """Makes videos on one device, one after the other.

    Args:
        device: as of an animation.
        pace: learns how long it takes.
    """

    def __init__(self, device: str, pace: Pace) -> None:
        self._device, self._pace = device, pace
        self._loaded: dict[str, Models] = {}  # by mode
        self._metrics: MetricSet | None = None

    def make(self, job: Job) -> Made:
        """Makes and measures the video of a job.

        Raises:
            JoyvasaError: as `joyvasa animate`.
            CancelledJob: nobody wants it any more.
        """
        config = replace(job.config, device=self._device)
        job.advance(LOADING, 0, 0)
        try:
            return self._make(job, self._animator(config))
        except RuntimeError as error:
            if "out of memory" not in str(error).lower():
                raise
            self._loaded.clear()
            sentence = f"{self._device}: out of memory: use a shorter recording, or a lower batch_frames"
            raise EnvironmentFault("out_of_memory", sentence) from error

    def _animator(self, config: AnimationConfig) -> Animator:
        known = self._loaded.get(config.mode) or next(iter(self._loaded.values()), None)
        animator = Animator(config, models=known)
        models = self._loaded[config.mode] = animator.models
        _ = models.detector, models.encoder, models.motion_model, models.renderer  # they load when first asked for
        return animator

    def _make(self, job: Job, animator: Animator) -> Made:
        config, started = animator.config, time.monotonic()
        job.advance("motion", 0, 0)
        step = job.step

        def advance(name: str, done: int, total: int) -> None:
            nonlocal step
            if name != step:
                self._pace.learn(step, time.monotonic() - job.step_since, job.duration_s)
                step = name
            job.advance(name, done, total)

        animation = animator.animate(job.portrait, job.sound, job.folder / "video.mp4", on_progress=advance)
        elapsed_s = time.monotonic() - started
        advance("metrics", 0, animation.n_frames)
        self._metrics = self._metrics or MetricSet(
            [name for name in METRIC_NAMES if name != FVD],
            device=self._device,
            commercial=config.licenses == "commercial",
        )
        measured = measure_animation(
            self._metrics,
            animation,
            job.sound,
            animator.models,
            lambda done: advance("metrics", done, animation.n_frames),
        )
        self._pace.learn("metrics", time.monotonic() - job.step_since, job.duration_s)
        source = job.folder / "source.jpg"
        Image.fromarray(animation.picture.image).save(source, quality=90)
        return Made(
            video=animation.path,
            source=source,
            n_frames=animation.n_frames,
            duration_s=animation.duration_s,
            width=animation.width,
            height=animation.height,
            elapsed_s=elapsed_s,
            measured=measured,
            warnings=animation.warnings,
            command=animate_command(*job.names, job.config),
        )
