"""Amounts in a manifest: distinct portraits and recordings, seconds of audio, frames, windows."""

from __future__ import annotations

import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from manifests.hash_index import HashIndex
from manifests.problems import safe_text
from manifests.record import Record

MAX_EXAMPLES = 3  # failed probes shown per code
NOT_FETCHED = "not_fetched"  # code of media whose length is unknown, as opposed to media that cannot be read
SPEECH_RATE = 14  # characters per second; English texts spoken by Flite have 12 to 15.5
WIDE_CHARACTERS = 3  # narrow characters that take as long as a Chinese, Japanese or Korean one

Probe = Callable[[str], float]  # maps an absolute path or URI to seconds; raises for bad media


@dataclass(frozen=True)
class VideoSizes:
    """Frame rate of videos and size of motion windows, which depend on the motion model."""

    frames_per_second: int
    frames_per_window: int
    silent_frames: int = 0  # frames before the audio, in the first window

    def frames(self, seconds: np.ndarray) -> np.ndarray:
        """Return the number of frames of videos as long as the audio, shape (n,), int64."""
        return np.ceil(np.round(seconds * self.frames_per_second, 6)).astype(np.int64)

    def windows(self, frames: np.ndarray) -> np.ndarray:
        """Return the number of motion windows for numbers of frames, shape (n,), int64."""
        return np.where(frames, -(-(frames + self.silent_frames) // self.frames_per_window), 0)


@dataclass(frozen=True)
class Probes:
    """Functions that measure the duration of media, and how many run at once."""

    sizes: VideoSizes  # for the number of frames and windows
    audio: Probe  # for recordings
    motion: Probe | None = None  # for motion files
    threads: int = 2  # decoders are separate processes
    pending: int = 64  # maximum number of pending probes; bounds memory


@dataclass(frozen=True)
class ManifestStats:
    """Amounts over the valid rows; None if durations were not read.

    Sums of durations include spoken texts, as estimated from their characters, and media that were not fetched, with
    the mean length of those of their kind that were read. If none was, the sums are None.
    """

    records: int
    portraits: int  # distinct
    recordings: int  # distinct
    motions: int  # distinct motion files
    texts: int  # rows whose text is spoken
    sound_s: float | None = None  # seconds of audio, summed over rows
    distinct_sound_s: float | None = None  # seconds of audio, summed over distinct recordings
    frames: int | None = None
    windows: int | None = None  # none for rows with a motion file
    text_s: float | None = None  # estimated seconds of the spoken texts, summed over rows
    not_fetched: int = 0  # distinct recordings and motion files of unknown length
    probe_failures: dict[str, int] = field(default_factory=dict)  # number of distinct files, by error code
    probe_examples: list[str] = field(default_factory=list)


class StatsCollector:
    """Adds up records; each distinct recording is probed once, in a thread pool.

    Use it as a context manager, which stops the threads on exit. Memory: about 40 bytes per distinct file.
    """

    def __init__(self, probes: Probes | None = None) -> None:
        self._probes = probes
        self._records = 0
        self._texts = 0
        self._portraits = HashIndex()
        self._recordings = _Lengths(probes and probes.audio)
        self._motions = _Lengths(probes and probes.motion)
        self._speech = _Lengths(None)
        self._pool = ThreadPoolExecutor(probes.threads if probes else 1, thread_name_prefix="probe")
        self._pending: deque[tuple[_Lengths, int, str, Future[float]]] = deque()
        self._failures: Counter[str] = Counter()
        self._examples: list[str] = []

    def __enter__(self) -> StatsCollector:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def add(self, records: Sequence[Record]) -> None:
        """Add records; blocks while too many probes are pending."""
        self._records += len(records)
        self._texts += sum(record.text is not None for record in records)
        self._portraits.add([record.image for record in records if record.image is not None])
        with_audio = [record for record in records if record.audio is not None]
        sampled = [record.motion is None for record in with_audio]
        self._submit(self._recordings, [record.audio or "" for record in with_audio], sampled)

        # The video is as long as the audio; motion files count only in rows without audio.
        silent = [record.motion for record in records if record.audio is None and record.motion is not None]
        self._submit(self._motions, silent, [False] * len(silent))
        uncounted = [record.motion for record in with_audio if record.motion is not None]
        self._submit(self._motions, uncounted, [], counted=False)

        spoken = [f"{record.voice or ''}\0{record.text}" for record in records if record.text is not None]
        for number, key in self._speech.add(spoken, [True] * len(spoken), counted=True):
            self._speech.files["seconds"][number] = estimate_speech(key.partition("\0")[2])

    def finish(self) -> ManifestStats:
        """Wait for all probes and return the sums."""
        while self._pending:
            self._collect_probe()
        counts = ManifestStats(
            self._records, len(self._portraits), len(self._recordings), len(self._motions), self._texts
        )
        if self._probes is None:
            return counts

        sizes = self._probes.sizes
        sound, speech, motion = (part.sums(sizes) for part in (self._recordings, self._speech, self._motions))
        return replace(
            counts,
            sound_s=add_known(sound.row_s, speech.row_s),
            distinct_sound_s=add_known(sound.file_s, speech.file_s),
            frames=add_known(sound.frames, speech.frames, motion.frames),
            windows=add_known(sound.windows, speech.windows),
            text_s=speech.row_s,
            not_fetched=self._failures[NOT_FETCHED],
            probe_failures=dict(self._failures.most_common()),
            probe_examples=self._examples,
        )

    def _submit(self, lengths: _Lengths, paths: list[str], sampled: list[bool], *, counted: bool = True) -> None:
        for number, path in lengths.add(paths, sampled, counted=counted):
            if self._probes is None or lengths.probe is None:
                continue
            if len(self._pending) >= self._probes.pending:
                self._collect_probe()
            self._pending.append((lengths, number, path, self._pool.submit(lengths.probe, path)))

    def _collect_probe(self) -> None:
        lengths, number, path, future = self._pending.popleft()
        try:
            lengths.files["seconds"][number] = future.result()
        except Exception as error:  # failed probes are counted, whatever the decoder raises
            code = str(getattr(error, "code", type(error).__name__))
            self._failures[code] += 1
            lengths.files["unknown"][number] = code == NOT_FETCHED
            if self._failures[code] <= MAX_EXAMPLES:
                self._examples.append(f"{safe_text(path, 120)}: {safe_text(error, 200)}")


def estimate_speech(text: str) -> float:
    """Return about how many seconds it takes to speak a text."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return (len(text) + wide * (WIDE_CHARACTERS - 1)) / SPEECH_RATE


def add_known(*parts: Any) -> Any:
    """Return the sum of numbers; None if one is None."""
    return None if None in parts else sum(parts)


@dataclass(frozen=True)
class _Sums:
    """Amounts of some media; None if their lengths are not known."""

    row_s: float | None = None  # seconds, summed over rows
    file_s: float | None = None  # seconds, summed over files
    frames: int | None = None
    windows: int | None = None


# Of one distinct file or text.
_LENGTH = np.dtype(
    [
        ("seconds", np.float64),  # NaN of media that were not read
        ("unknown", np.bool_),  # whether it was not fetched
        ("requested", np.bool_),  # whether its length is needed
        ("rows", np.int64),
        ("sampled", np.int64),  # rows whose motion is sampled from this recording
    ]
)


class _Lengths:
    """Durations and numbers of rows of distinct files."""

    def __init__(self, probe: Probe | None) -> None:
        self.probe = probe
        self._index = HashIndex()
        self.files = np.array([(np.nan, False, False, 0, 0)] * 1024, _LENGTH)

    def __len__(self) -> int:
        return len(self._index)

    def add(self, paths: list[str], sampled: list[bool], *, counted: bool) -> list[tuple[int, str]]:
        """Count rows by file; return the files whose length is needed for the first time, with their numbers."""
        if not paths:
            return []
        numbers = self._index.add(paths)
        while (size := len(self.files)) < len(self._index):
            self.files = np.concatenate([self.files, np.zeros(size, _LENGTH)])
            self.files["seconds"][size:] = np.nan
        if not counted:
            return []
        np.add.at(self.files["rows"], numbers, 1)
        np.add.at(self.files["sampled"], numbers, np.asarray(sampled, dtype=np.int64))
        requested = self.files["requested"]
        missing = {int(n): path for n, path in zip(numbers, paths, strict=True) if not requested[n]}
        requested[numbers] = True
        return list(missing.items())

    def sums(self, sizes: VideoSizes) -> _Sums:
        """Add up the media, those of unknown length with the mean of those that were read."""
        seconds, unknown = self.files["seconds"], self.files["unknown"]
        read = ~np.isnan(seconds)
        if unknown.any():
            if not read.any():
                return _Sums()
            seconds[unknown] = seconds[read].mean()
            read |= unknown
        seconds, rows, sampled = seconds[read], self.files["rows"][read], self.files["sampled"][read]
        frames = sizes.frames(seconds)
        windows = sizes.windows(frames)
        return _Sums(float(seconds @ rows), float(seconds.sum()), int(frames @ rows), int(windows @ sampled))
