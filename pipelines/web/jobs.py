"""The queue of pairs that wait for a device."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from joyvasa.errors import InputError, JoyvasaError
from joyvasa.metrics.base import MetricColumn
from joyvasa.options import AnimationConfig
from pipelines.web.limits import Limits

STEPS = ("motion", "frames", "metrics")  # in order; each takes time in proportion to the sound


@dataclass(frozen=True)
class RemainingTime:
    """An estimate."""

    seconds: float  # seconds until the video is finished
    complete: bool  # whether all remaining steps are included; steps that were never timed are not


class TimeEstimator:
    """Estimates times from the seconds that each step took per second of sound."""

    def __init__(self) -> None:
        self._rates: dict[str, float] = {}

    def record(self, step: str, elapsed_s: float, duration_s: float) -> None:
        """Record how long a step took for a recording of `duration_s`."""
        if duration_s > 0:
            self._rates[step] = elapsed_s / duration_s

    def estimate(
        self, duration_s: float, step: str = "", share: float = 0.0, elapsed_s: float = 0.0
    ) -> RemainingTime | None:
        """Estimate the remaining time of a job.

        Args:
            duration_s: length of the sound.
            step: current step; empty before the first one.
            share: finished share of the step, 0 to 1.
            elapsed_s: seconds since the step started.

        Returns:
            The estimate; None if no step was timed yet.
        """
        seconds, timed, complete = 0.0, False, True
        for name in STEPS[STEPS.index(step) if step in STEPS else 0 :]:
            if name == step and share > 0:
                seconds, timed = seconds + elapsed_s * (1 - share) / share, True
            elif name in self._rates:
                spent = elapsed_s if name == step else 0.0
                seconds, timed = seconds + max(0.0, self._rates[name] * duration_s - spent), True
            else:
                complete = False
        return RemainingTime(seconds, complete) if timed else None


class JobState(StrEnum):
    """State of a job."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED})


class JobCancelled(Exception):  # noqa: N818 (no error)
    """Raised within a job that was cancelled."""


@dataclass(frozen=True)
class MetricResult:
    """Value of one metric column, or the reason why it is missing."""

    column: MetricColumn  # metric column
    value: float | None  # value for this video; None if it is missing
    reason: str = ""  # sentence, if the value is missing


@dataclass(frozen=True)
class FinishedVideo:
    """A finished video with its metrics."""

    video: Path  # video file
    source: Path  # picture as it was animated, a JPEG file
    # n_frames, duration_s, width, height: properties of the video
    n_frames: int
    duration_s: float
    width: int
    height: int
    elapsed_s: float  # seconds that the video took, without metrics
    metrics: Sequence[MetricResult]  # results of all metrics
    warnings: Sequence[str]  # sentences about the picture
    command: str  # shell command that makes the same video


@dataclass
class Job:
    """A pair to animate."""

    session: str  # session of the browser that submitted the job
    folder: Path  # folder of the job, removed with it
    files: Mapping[str, Path]  # files in that folder by input: `portrait`, and `sound` or `motion` or both
    names: Mapping[str, str]  # original names of the files
    duration_s: float  # length of the sound; 0 without one
    config: AnimationConfig  # options of the animation
    id: str = field(default_factory=lambda: secrets.token_hex(16))  # random, because it gives access to the video
    state: JobState = JobState.WAITING  # current state
    step: str = ""  # current step; one of `time_estimate.STEPS`, or a step before them
    # done, total: progress of this step
    done: int = 0
    total: int = 0
    step_started: float = 0.0  # start of this step, monotonic seconds
    result: FinishedVideo | None = None  # finished video, if the job is done
    error: str = ""  # sentence, if the job failed
    cancel_requested: threading.Event = field(default_factory=threading.Event)  # set when the job should stop

    @property
    def file_name(self) -> str:
        """Name for the downloaded video."""
        return "-".join(Path(name).stem for name in self.names.values()) + ".mp4"

    def advance(self, step: str, done: int, total: int) -> None:
        """Record the progress.

        Raises:
            JobCancelled: the job was cancelled.
        """
        if self.cancel_requested.is_set():
            raise JobCancelled
        if step != self.step:
            self.step, self.step_started = step, time.monotonic()
        self.done, self.total = done, total


MakeVideo = Callable[[Job], FinishedVideo]
"""Makes the video of a job on one device; calls `Job.advance` often."""


class JobQueue:
    """A queue of jobs; each device runs the next job when it is free.

    Args:
        makers: function of each device.
        limits: numbers of jobs that may wait, and of finished jobs to keep.
    """

    def __init__(self, makers: Sequence[MakeVideo], limits: Limits) -> None:
        self.limits = limits
        self._jobs: dict[str, Job] = {}  # in order of submission
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._run_jobs, args=(maker,), name=f"device {number}", daemon=True)
            for number, maker in enumerate(makers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> None:
        """Append a job to the queue and cancel an unfinished one of the same browser.

        Raises:
            InputError: `queue_full`.
        """
        with self._changed:
            own = [other for other in self._jobs.values() if other.session == job.session and other.state not in ENDED]
            n_waiting = len(self._waiting) - sum(other.state is JobState.WAITING for other in own)
            if n_waiting >= self.limits.max_waiting:
                raise InputError("queue_full", f"{n_waiting} videos are waiting: try again later")
            for other in own:
                self._cancel(other)
            self._jobs[job.id] = job
            self._waiting.append(job)
            self._changed.notify()

    def find(self, job_id: str) -> Job | None:
        """Return the job with this id; None if it was removed."""
        return self._jobs.get(job_id)

    def list_finished(self, session: str) -> list[Job]:
        """Return the jobs of a browser that have a video, the newest first."""
        with self._changed:
            return [job for job in reversed(self._jobs.values()) if job.session == session and job.result]

    def jobs_ahead(self, job: Job) -> list[Job]:
        """Return the jobs before a waiting job: running ones, then those that were submitted earlier."""
        with self._changed:
            waiting = list(self._waiting)
            running = [other for other in self._jobs.values() if other.state is JobState.RUNNING]
        return [*running, *waiting[: waiting.index(job)]] if job in waiting else []

    def cancel(self, job_id: str) -> None:
        """Remove a job from the queue, or stop it at its next step."""
        with self._changed:
            if job := self._jobs.get(job_id):
                self._cancel(job)

    def remove_session(self, session: str) -> None:
        """Cancel and remove all jobs of a browser that has disconnected."""
        with self._changed:
            for job in [job for job in self._jobs.values() if job.session == session]:
                self._cancel(job)
                self._remove(job)

    def close(self) -> None:
        """Cancel all jobs and wait for them."""
        with self._changed:
            self._closed = True
            for job in list(self._jobs.values()):
                self._cancel(job)
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _cancel(self, job: Job) -> None:
        job.cancel_requested.set()
        if job.state is JobState.WAITING:
            self._waiting.remove(job)
            job.state = JobState.CANCELLED
            self._remove(job)

    def _remove(self, job: Job) -> None:
        if job.state in ENDED:  # a running job is removed when it has ended
            self._jobs.pop(job.id, None)
            shutil.rmtree(job.folder, ignore_errors=True)

    def _remove_oldest(self, session: str) -> None:
        """Remove the oldest videos beyond the limits of this session and of all."""
        ended = [job for job in self._jobs.values() if job.state in ENDED]
        own = [job for job in ended if job.session == session]
        for job in own[: -self.limits.results] + ended[: -self.limits.max_finished]:
            self._remove(job)

    def _run_jobs(self, maker: MakeVideo) -> None:
        while job := self._next():
            state, result, error = JobState.DONE, None, ""
            try:
                result = maker(job)
            except JobCancelled:
                state = JobState.CANCELLED
            except JoyvasaError as failure:
                state, error = JobState.FAILED, _with_original_names(str(failure), job)
            except Exception as failure:  # shown to the visitor; the next job may succeed
                text = " ".join(f"{type(failure).__name__}: {failure}".split())[:300]
                state, error = JobState.FAILED, _with_original_names(f"unexpected_error: {text}", job)
            with self._changed:
                for upload in job.files.values():
                    upload.unlink(missing_ok=True)
                job.result, job.error, job.state = result, error, state
                if job.cancel_requested.is_set() or result is None:
                    self._remove(job)
                self._remove_oldest(job.session)

    def _next(self) -> Job | None:
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            if self._closed:
                return None
            job = self._waiting.popleft()
            job.state = JobState.RUNNING
            return job


def _with_original_names(sentence: str, job: Job) -> str:
    """Replace paths in the temporary folder with the names that the visitor knows."""
    for name, path in job.files.items():
        sentence = sentence.replace(str(path), job.names[name])
    return sentence
