"""What a manifest asks for: distinct portraits and recordings, seconds of sound, frames, windows."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from manifests.hash_index import HashIndex
from manifests.problems import safe_text
from manifests.record import Record

EXAMPLES = 3  # of failed probes, by code

Probe = Callable[[str], float]  # an absolute path or URI -> seconds; raises for bad media


@dataclass(frozen=True)
class Probes:
    """How lengths are found; the program passes its own decoders in."""

    audio: Probe | None = None  # of a recording
    motion: Probe | None = None  # of a motion file
    threads: int = 2  # decoders are processes of their own
    pending: int = 64  # probes that wait at most, so that memory stays bounded


@dataclass(frozen=True)
class VideoSizes:
    """Frame rate of the videos and size of the sampled windows; the defaults are those of the built-in model."""

    frames_per_second: int = 25
    frames_per_window: int = 100
    silent_frames: int = 0  # before the sound, in the first window

    def frames(self, seconds: np.ndarray) -> np.ndarray:
        """Return the frames of videos as long as the sound, shape (n,), int64."""
        return np.ceil(np.round(seconds * self.frames_per_second, 6)).astype(np.int64)

    def windows(self, frames: np.ndarray) -> np.ndarray:
        """Return the windows whose motion fills these frames, shape (n,), int64."""
        return np.where(frames, -(-(frames + self.silent_frames) // self.frames_per_window), 0)


@dataclass(frozen=True)
class ManifestStats:
    """Amounts over the usable rows; None where no length was read."""

    records: int
    portraits: int  # distinct
    recordings: int  # distinct
    motions: int  # distinct motion files
    sound_s: float | None = None  # seconds, counted for every row
    distinct_sound_s: float | None = None  # seconds, counted once for each recording
    frames: int | None = None
    windows: int | None = None  # rows that bring a motion need none
    probe_failures: dict[str, int] = field(default_factory=dict)  # distinct files by code
    probe_examples: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The amounts as a plain mapping, for JSON."""
        return asdict(self)


class StatsCollector:
    """Adds records up; each distinct recording is probed once, in a small thread pool.

    Use it as a context manager: leaving it ends its threads. Some 40 bytes are kept for each distinct file.
    """

    def __init__(self, probes: Probes | None = None, sizes: VideoSizes | None = None) -> None:
        self._probes = probes or Probes()
        self._sizes = sizes or VideoSizes()
        self._records = 0
        self._portraits = HashIndex()
        self._recordings = _Lengths(self._probes.audio)
        self._motions = _Lengths(self._probes.motion)
        self._pool = ThreadPoolExecutor(self._probes.threads, thread_name_prefix="probe")
        self._pending: deque[tuple[_Lengths, int, str, Future[float]]] = deque()
        self._failures: Counter[str] = Counter()
        self._examples: Counter[str] = Counter()
        self._shown: list[str] = []

    def __enter__(self) -> StatsCollector:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def add(self, records: Sequence[Record]) -> None:
        """Add records; wait while too many probes are pending."""
        self._records += len(records)
        self._portraits.add([record.image for record in records if record.image is not None])
        with_sound = [record for record in records if record.audio is not None]
        sampled = [record.motion is None for record in with_sound]
        self._submit(self._recordings, [record.audio or "" for record in with_sound], sampled)
        silent = [record for record in records if record.audio is None]
        self._submit(self._motions, [record.motion or "" for record in silent], [False] * len(silent))
        beside = [record.motion for record in with_sound if record.motion is not None]
        self._submit(self._motions, beside, [], counted=False)

    def totals(self) -> ManifestStats:
        """The sums so far, after waiting for all probes."""
        while self._pending:
            self._take()
        counts = ManifestStats(self._records, len(self._portraits), len(self._recordings), len(self._motions))
        if self._probes.audio is None:
            return counts
        sound, distinct, frames, windows = self._recordings.sums(self._sizes)
        motion_frames = self._motions.sums(self._sizes)[2]
        return ManifestStats(
            **{name: getattr(counts, name) for name in ("records", "portraits", "recordings", "motions")},
            sound_s=sound,
            distinct_sound_s=distinct,
            frames=frames + motion_frames,
            windows=windows,
            probe_failures=dict(self._failures.most_common()),
            probe_examples=self._shown,
        )

    def _submit(self, lengths: _Lengths, paths: list[str], sampled: list[bool], *, counted: bool = True) -> None:
        for number, path in lengths.add(paths, sampled, counted=counted):
            if lengths.probe is None:
                continue
            if len(self._pending) >= self._probes.pending:
                self._take()
            self._pending.append((lengths, number, path, self._pool.submit(lengths.probe, path)))

    def _take(self) -> None:
        lengths, number, path, future = self._pending.popleft()
        try:
            lengths.seconds[number] = future.result()
        except Exception as error:  # whatever a decoder raises, the plan goes on and counts it
            code = str(getattr(error, "code", type(error).__name__))
            self._failures[code] += 1
            self._examples[code] += 1
            if self._examples[code] <= EXAMPLES:
                self._shown.append(f"{safe_text(path, 120)}: {safe_text(error, 200)}")


class _Lengths:
    """Seconds and numbers of rows by distinct file."""

    def __init__(self, probe: Probe | None) -> None:
        self.probe = probe
        self._table = HashIndex()
        self.seconds = np.full(1024, np.nan)
        self._rows = np.zeros(1024, dtype=np.int64)
        self._sampled = np.zeros(1024, dtype=np.int64)  # rows whose motion is sampled from this sound

    def __len__(self) -> int:
        return len(self._table)

    def add(self, paths: list[str], sampled: list[bool], *, counted: bool) -> list[tuple[int, str]]:
        """Counts rows by file; returns the files that are new, with their numbers."""
        if not paths:
            return []
        known = len(self._table)
        numbers = self._table.add(paths)
        while len(self._rows) < len(self._table):
            self.seconds = np.concatenate([self.seconds, np.full_like(self.seconds, np.nan)])
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
            self._sampled = np.concatenate([self._sampled, np.zeros_like(self._sampled)])
        if counted:
            np.add.at(self._rows, numbers, 1)
            np.add.at(self._sampled, numbers, np.asarray(sampled, dtype=np.int64))
        fresh = {int(number): path for number, path in zip(numbers, paths, strict=True) if number >= known}
        return list(fresh.items())

    def sums(self, sizes: VideoSizes) -> tuple[float, float, int, int]:
        """Seconds over rows, seconds over files, frames and windows over rows."""
        read = ~np.isnan(self.seconds)
        seconds, rows, sampled = self.seconds[read], self._rows[read], self._sampled[read]
        frames = sizes.frames(seconds)
        windows = sizes.windows(frames)
        return float(seconds @ rows), float(seconds.sum()), int(frames @ rows), int(windows @ sampled)
