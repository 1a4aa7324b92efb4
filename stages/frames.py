"""Rendering of frames of several records in shared batches, and the videos that they become."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from joyvasa.media.ffmpeg import Clock
from joyvasa.media.video_writer import EncodingConfig, VideoWriter
from joyvasa.models import Models
from joyvasa.rendering.compose import FrameComposer
from joyvasa.runtime.device import autocast
from joyvasa.runtime.files import hash_file
from manifests.scratch import scratch_folder
from manifests.storage import Storage
from stages.base import Failed, FailureKind
from stages.failures import classify_for_record
from stages.verify_output import VideoPayload


@dataclass(eq=False, kw_only=True)
class RenderJob:
    """The frames of one record to render."""

    feature: Tensor  # feature volume of the portrait, shape (1, channels, depth, height, width)
    source_keypoints: Tensor  # keypoints of the portrait, shape (1, keypoints, 3)
    keypoints: Tensor  # driving keypoints, shape (frames, keypoints, 3)
    failure: Failed | None = field(default=None)  # failure of the record, if any; its remaining frames are skipped

    @property
    def n_frames(self) -> int:
        """Number of frames of the video."""
        return len(self.keypoints)


@dataclass(frozen=True)
class FrameRange:
    """Consecutive frames of one record."""

    job: RenderJob
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def split(self) -> list[FrameRange]:
        """Return the two halves, or the range itself if it has one frame."""
        middle = (self.start + self.stop) // 2
        halves = (FrameRange(self.job, self.start, middle), FrameRange(self.job, middle, self.stop))
        return [half for half in halves if len(half)]


def split_into_batches(jobs: Sequence[RenderJob], batch_frames: int, *, mixed: bool) -> Iterator[list[FrameRange]]:
    """Split the frames of all records into batches, one record after another.

    A record that fails during the iteration is skipped from then on.

    Args:
        jobs: records in the order of rendering.
        batch_frames: maximum number of frames in a batch.
        mixed: whether a batch may hold frames of several records; otherwise the last batch of each record is smaller.
    """
    batch: list[FrameRange] = []
    for job in jobs:
        start = 0
        while start < job.n_frames and not job.failure:
            free = batch_frames - sum(map(len, batch))
            part = FrameRange(job, start, min(start + free, job.n_frames))
            batch.append(part)
            start = part.stop
            if len(part) == free or not mixed:
                yield batch
                batch = []
    if batch:
        yield batch


@dataclass(frozen=True)
class FrameRenderer:
    """Renders batches of frames; an error sets the failure of the records that caused it."""

    models: Models  # models with the renderer
    batch_frames: int  # maximum number of frames in a batch
    fixed_shape: bool  # whether to pad each batch to `batch_frames`, so that every call has the same shape

    def render(self, parts: Sequence[FrameRange]) -> Iterator[tuple[FrameRange, Tensor]]:
        """Yield each part that could be rendered with its crops, uint8 (frames, side, side, 3), on the device.

        On out-of-memory smaller batches are tried, down to single frames. With a fixed shape single parts are not
        split, because padding would restore the size.
        """
        try:
            crops = self._render(parts)
        except Exception as error:
            failure = classify_for_record(error)
        else:
            yield from zip(parts, crops.split([len(part) for part in parts]), strict=True)
            return

        if failure.kind is FailureKind.OUT_OF_MEMORY and torch.cuda.is_available():
            torch.cuda.empty_cache()
        smaller: list[list[FrameRange]] = []
        if len(parts) > 1:
            smaller = [[part] for part in parts]
        elif failure.kind is FailureKind.OUT_OF_MEMORY and not self.fixed_shape and len(parts[0]) > 1:
            smaller = [[half] for half in parts[0].split()]
        for batch in smaller:
            if not batch[0].job.failure:
                yield from self.render(batch)
        if not smaller:
            parts[0].job.failure = failure

    def _render(self, parts: Sequence[FrameRange]) -> Tensor:
        n_frames = sum(map(len, parts))
        driving = torch.cat([part.job.keypoints[part.start : part.stop] for part in parts])
        feature = _gather(parts, lambda job: job.feature)
        source = _gather(parts, lambda job: job.source_keypoints)
        if self.fixed_shape:
            padding = driving[-1:].expand(self.batch_frames - n_frames, -1, -1)
            driving = torch.cat([driving, padding])
        with autocast(self.models.device, self.models.config.precision):
            return self.models.renderer.render(feature, source, driving)[:n_frames]


def _gather(parts: Sequence[FrameRange], read: Callable[[RenderJob], Tensor]) -> Tensor:
    """Return a tensor of the record of each frame, shape (frames, ...); (1, ...) if there is one part."""
    if len(parts) == 1:
        return read(parts[0].job)
    tensors = [read(part.job) for part in parts]
    return torch.cat([t.expand(len(part), *[-1] * (t.ndim - 1)) for part, t in zip(parts, tensors, strict=True)])


@dataclass(eq=False, kw_only=True)
class VideoOutput:
    """Composes, encodes and publishes one video; the file appears only when it is complete."""

    storage: Storage  # storage of the run folder
    video: str  # path within the run folder
    composer: FrameComposer  # composer that pastes rendered crops into frames
    n_frames: int  # number of frames
    frames_per_second: float  # frame rate
    sound: Path | None  # file of the soundtrack, or None
    sound_channels: int  # number of channels of `sound`
    sound_clock: Clock = "samples"  # clock of the soundtrack, see `VideoWriter`
    encoding: EncodingConfig  # encoder settings
    comment: str  # comment tag in the file

    def __post_init__(self) -> None:
        self._scratch = ExitStack()
        self._writer: VideoWriter | None = None

    def write(self, prepared: np.ndarray) -> None:
        """Encode the next frames; the first call starts the encoder.

        Args:
            prepared: result of `FrameComposer.prepare`, uint8 RGB (frames, ...).

        Raises:
            OutputError: see `VideoWriter`.
        """
        if self._writer is None:
            self._writer = VideoWriter(
                self._scratch.enter_context(scratch_folder()) / "video.mp4",
                width=self.composer.width,
                height=self.composer.height,
                frames_per_second=self.frames_per_second,
                n_frames=self.n_frames,
                sound=self.sound,
                sound_channels=self.sound_channels,
                sound_clock=self.sound_clock,
                config=self.encoding,
                metadata={"comment": self.comment},
            )
        self._writer.write(self.composer.compose(prepared))

    def publish(self) -> VideoPayload:
        """Finish encoding and move the file into the run folder, replacing an existing one.

        Raises:
            OutputError: see `VideoWriter`.
            ManifestError: `output_unwritable`.
        """
        assert self._writer is not None, "no frame was written"
        writer, self._writer = self._writer, None
        writer.__exit__(None, None, None)

        payload = VideoPayload(
            video=self.video,
            video_bytes=writer.path.stat().st_size,
            sha256=hash_file(writer.path),
            frames=self.n_frames,
            frames_per_second=self.frames_per_second,
            width=self.composer.width,
            height=self.composer.height,
        )

        with self.storage.staging(self.video) as staged:
            shutil.copyfile(writer.path, staged)
        self.close()
        return payload

    def close(self) -> None:
        """Remove temporary files and stop an unfinished encoder."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            stopped = InterruptedError("cancelled")
            writer.__exit__(type(stopped), stopped, None)
        self._scratch.close()
