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
from stages.isolation import map_each

if TYPE_CHECKING:
    from torch import Tensor

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


@dataclass(frozen=True, kw_only=True)
class VideoPlan:
    """Properties of a video to write."""

    video: str  # path within the run folder
    n_frames: int  # number of frames
    frames_per_second: float  # frame rate
    sound: Path | None  # file of the soundtrack, or None
    sound_channels: int  # number of channels of `sound`
    comment: str  # comment tag in the file
    sound_clock: Clock = "samples"  # clock of the soundtrack, see `VideoWriter`


class VideoOutput:
    """Composes, encodes and publishes one video; the file appears only when it is complete.

    Args:
        plan: properties of the video.
        composer: composer that pastes rendered crops into frames.
        storage: storage of the run folder.
        encoding: encoder settings.
    """

    def __init__(self, plan: VideoPlan, composer: FrameComposer, storage: Storage, encoding: EncodingConfig) -> None:
        self._plan, self._composer, self._storage, self._encoding = plan, composer, storage, encoding
        self._scratch = ExitStack()
        self._writer: VideoWriter | None = None

    def prepare(self, crops: Tensor) -> np.ndarray:
        """Convert rendered crops into the input of `write`; see `FrameComposer.prepare`."""
        return self._composer.prepare(crops)

    def write(self, prepared: np.ndarray) -> None:
        """Encode the next frames; the first call starts the encoder.

        Args:
            prepared: result of `prepare`, uint8 RGB (frames, ...).

        Raises:
            OutputError: see `VideoWriter`.
        """
        if self._writer is None:
            self._writer = VideoWriter(
                self._scratch.enter_context(scratch_folder()) / "video.mp4",
                width=self._composer.width,
                height=self._composer.height,
                frames_per_second=self._plan.frames_per_second,
                n_frames=self._plan.n_frames,
                sound=self._plan.sound,
                sound_channels=self._plan.sound_channels,
                sound_clock=self._plan.sound_clock,
                config=self._encoding,
                metadata={"comment": self._plan.comment},
            )
        self._writer.write(self._composer.compose(prepared))

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
            video=self._plan.video,
            video_bytes=writer.path.stat().st_size,
            sha256=hash_file(writer.path),
            frames=self._plan.n_frames,
            frames_per_second=self._plan.frames_per_second,
            width=self._composer.width,
            height=self._composer.height,
        )

        with self._storage.staging(self._plan.video) as staged:
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
