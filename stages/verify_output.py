"""Stage `verify_output`: check that videos were written. What composes, encodes and publishes a video is here too."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from joyvasa.media.ffmpeg import Clock
from joyvasa.media.video_writer import EncodingConfig, VideoWriter
from joyvasa.runtime.files import hash_file
from manifests.scratch import scratch_folder
from manifests.storage import Storage, open_storage
from stages.base import Failed, FailureKind, Item, Ok, Outcome, Resources, Stage
from stages.failures import map_each

if TYPE_CHECKING:
    from joyvasa.rendering.compose import FrameComposer


@dataclass(frozen=True)
class VideoPayload:
    """A finished video."""

    video: str  # path within the run folder
    video_bytes: int  # size of the file in bytes
    sha256: str  # SHA-256 of the file
    frames: int  # number of frames
    frames_per_second: float  # frame rate
    # width, height: size in pixels
    width: int
    height: int

    @property
    def duration_s(self) -> float:
        """Duration in seconds."""
        return self.frames / self.frames_per_second


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


class VerifyOutputStage(Stage[str]):
    """Check the file of a `VideoPayload`.

    No payload. Fact: `committed`. Outcome rows are written by the driver instead: only it knows attempts, seconds and
    rejected records.

    Args:
        config: run folder; an absolute path or URI.
    """

    name = "verify_output"
    resources = Resources(cpu=0.1)
    batch_size = 16

    def setup(self) -> None:
        """Open the run folder."""
        self._storage = open_storage(self.config)

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Check one video at a time."""
        return map_each(batch, self._check)

    def _check(self, item: Item) -> Outcome:
        video: VideoPayload = item.inputs["render"]
        size = self._storage.size(video.video)
        if size != video.video_bytes:
            state = "is missing" if size is None else f"has {size} bytes"
            location = self._storage.location(video.video)
            sentence = f"{location}: {state}; expected {video.video_bytes} bytes: run the record again"
            return Failed(FailureKind.IO, "video_lost", sentence)
        return Ok(facts={"committed": True})
