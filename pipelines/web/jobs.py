"""The line of pairs that wait for a device, and what becomes of them."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from joyvasa.errors import InputError, JoyvasaError
from joyvasa.models import AnimationConfig
from pipelines.web.limits import Limits
from pipelines.web.measuring import Measured


class State(StrEnum):
    """Where a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({State.DONE, State.FAILED, State.CANCELLED})


class CancelledJob(Exception):  # noqa: N818 (no error)
    """Raised within a job that nobody wants any more."""


@dataclass(frozen=True)
class Made:
    """A video and what is known of it.

    Attributes:
        video: file.
        source: the picture as it was animated, a JPEG file.
        n_frames, duration_s, width, height: of the video.
        elapsed_s: making it; measuring not counted.
        measured: its metrics.
        warnings: one sentence each.
        command: that makes the same in a shell.
    """

    video: Path
    source: Path
    n_frames: int
    duration_s: float
    width: int
    height: int
    elapsed_s: float
    measured: Sequence[Measured]
    warnings: Sequence[str]
    command: str


@dataclass
class Job:
    """One pair.

    Attributes:
        id: not to be guessed, as it gives access to the video.
        session: of the browser that asked for it.
        folder: its own, removed with it.
        portrait, sound: files in that folder.
        names: of the portrait and the sound, as the visitor knows them.
        duration_s: of the sound.
        config: every option.
        state: where it is.
        step: what is done now; one of `pace.STEPS`, or what comes before them.
        done, total: of this step.
        step_since: when it began, monotonic seconds.
        made: where it is done.
        error: a sentence where it has failed.
    """

    session: str
    folder: Path
    portrait: Path
    sound: Path
    names: tuple[str, str]
    duration_s: float
    config: AnimationConfig
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    state: State = State.WAITING
    step: str = ""
    done: int = 0
    total: int = 0
    step_since: float = 0.0
    made: Made | None = None
    error: str = ""
    unwanted: threading.Event = field(default_factory=threading.Event)

    def advance(self, step: str, done: int, total: int) -> None:
        """Notes how far it is.

        Raises:
            CancelledJob: nobody wants it any more.
        """
        if self.unwanted.is_set():
            raise CancelledJob
        if step != self.step:
            self.step, self.step_since = step, time.monotonic()
        self.done, self.total = done, total


Maker = Callable[[Job], Made]
"""Makes the video of a job on one device; calls `Job.advance` often."""


class JobQueue:
    """Jobs wait in one line; each device takes the next one when it is free.

    Args:
        makers: one for each device.
        limits: how many may wait, and how many finished ones are kept.
    """

    def __init__(self, makers: Sequence[Maker], limits: Limits) -> None:
        self._limits = limits
        self._jobs: dict[str, Job] = {}  # in order of their coming
        self._line: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, args=(maker,), name=f"device {number}", daemon=True)
            for number, maker in enumerate(makers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> None:
        """Puts a job at the end of the line; one that the same browser still has in it is cancelled.

        Raises:
            InputError: `queue_full`.
        """
        with self._changed:
            for other in list(self._jobs.values()):
                if other.session == job.session and other.state not in ENDED:
                    self._cancel(other)
            if len(self._line) >= self._limits.waiting:
                raise InputError("queue_full", f"{len(self._line)} videos are waiting: try again later")
            self._jobs[job.id] = job
            self._line.append(job)
            self._forget_old()
            self._changed.notify()

    def find(self, job_id: str) -> Job | None:
        """The job with this id; None where it was removed."""
        return self._jobs.get(job_id)

    def ahead(self, job: Job) -> list[Job]:
        """Jobs that come first: those that run, then those that wait longer."""
        with self._changed:
            waiting = list(self._line)
            running = [other for other in self._jobs.values() if other.state is State.RUNNING]
        return [*running, *waiting[: waiting.index(job)]] if job in waiting else []

    def cancel(self, job_id: str) -> None:
        """Takes a job out of the line, or ends it at its next step."""
        with self._changed:
            if job := self._jobs.get(job_id):
                self._cancel(job)

    def leave(self, session: str) -> None:
        """Forgets all jobs of a browser that has gone."""
        with self._changed:
            for job in [job for job in self._jobs.values() if job.session == session]:
                self._cancel(job)
                self._forget(job)

    def close(self) -> None:
        """Ends all jobs, and waits for them."""
        with self._changed:
            self._closed = True
            for job in list(self._jobs.values()):
                self._cancel(job)
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _cancel(self, job: Job) -> None:
        job.unwanted.set()
        if job.state is State.WAITING:
            self._line.remove(job)
            job.state = State.CANCELLED
            self._forget(job)

    def _forget(self, job: Job) -> None:
        if job.state in ENDED:  # one that runs is forgotten when it has ended
            self._jobs.pop(job.id, None)
            shutil.rmtree(job.folder, ignore_errors=True)

    def _forget_old(self) -> None:
        ended = [job for job in self._jobs.values() if job.state in ENDED]
        for job in ended[: max(0, len(ended) - self._limits.kept)]:
            self._forget(job)

    def _work(self, maker: Maker) -> None:
        while job := self._next():
            state, made, error = State.DONE, None, ""
            try:
                made = maker(job)
            except CancelledJob:
                state = State.CANCELLED
            except JoyvasaError as failure:
                state, error = State.FAILED, _named(str(failure), job)
            except Exception as failure:  # told to the visitor; the next job may fare better
                text = " ".join(f"{type(failure).__name__}: {failure}".split())[:300]
                state, error = State.FAILED, _named(f"unexpected_error: {text}", job)
            with self._changed:
                for upload in (job.portrait, job.sound):
                    upload.unlink(missing_ok=True)
                job.made, job.error, job.state = made, error, state
                if job.unwanted.is_set():
                    self._forget(job)

    def _next(self) -> Job | None:
        with self._changed:
            while not self._line and not self._closed:
                self._changed.wait()
            if self._closed:
                return None
            job = self._line.popleft()
            job.state = State.RUNNING
            return job


def _named(sentence: str, job: Job) -> str:
    """A sentence with the names that the visitor gave, in the place of those of the temporary folder."""
    for path, name in zip((job.portrait, job.sound), job.names, strict=True):
        sentence = sentence.replace(str(path), name)
    return sentence
