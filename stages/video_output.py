"""One video on its way into the run folder."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from joyvasa.media.video_writer import EncodingConfig, VideoWriter
from joyvasa.rendering.compose import FrameComposer
from joyvasa.runtime.files import sha256_of
from manifests.scratch import scratch_folder
from manifests.storage import Storage


@dataclass(frozen=True)
class VideoPayload:
    """A finished video.

    Attributes:
        video: path within the run folder.
        video_bytes: size of the file.
        sha256: of the file.
        frames: number of them.
        frames_per_second: of the video.
        width: pixels.
        height: pixels.
    """

    video: str
    video_bytes: int
    sha256: str
    frames: int
    frames_per_second: float
    width: int
    height: int

    @property
    def duration_s(self) -> float:
        """Seconds of video."""
        return self.frames / self.frames_per_second


@dataclass(frozen=True, kw_only=True)
class VideoPlan:
    """What a video shall be.

    Attributes:
        video: path within the run folder.
        n_frames: of the video.
        frames_per_second: of the video.
        sound: file that is heard, or None.
        comment: tag in the file.
    """

    video: str
    n_frames: int
    frames_per_second: float
    sound: Path | None
    comment: str


class VideoOutput:
    """Composes, encodes and publishes one video; nothing of it is visible before it is whole.

    Args:
        plan: what it shall be.
        composer: crops to frames.
        storage: of the run folder.
        encoding: compression.
    """

    def __init__(self, plan: VideoPlan, composer: FrameComposer, storage: Storage, encoding: EncodingConfig) -> None:
        self._plan, self._composer, self._storage, self._encoding = plan, composer, storage, encoding
        self._scratch = ExitStack()
        self._writer: VideoWriter | None = None

    def prepare(self, crops: Tensor) -> np.ndarray:
        """What `write` takes; see `FrameComposer.prepare`."""
        return self._composer.prepare(crops)

    def write(self, prepared: np.ndarray) -> None:
        """Takes what `prepare` made of rendered crops, in order; opens the encoder with the first.

        Args:
            prepared: uint8 RGB (frames, ...).

        Raises:
            OutputError: as `VideoWriter`.
        """
        if self._writer is None:
            self._writer = VideoWriter(
                self._scratch.enter_context(scratch_folder()) / "video.mp4",
                width=self._composer.width,
                height=self._composer.height,
                frames_per_second=self._plan.frames_per_second,
                n_frames=self._plan.n_frames,
                sound=self._plan.sound,
                config=self._encoding,
                metadata={"comment": self._plan.comment},
            )
        self._writer.write(self._composer.compose(prepared))

    def publish(self) -> VideoPayload:
        """Ends the encoding and puts the file into the run folder, in the place of an older one.

        Raises:
            OutputError: as `VideoWriter`.
            ManifestError: `output_unwritable`.
        """
        assert self._writer is not None, "no frame was written"
        writer, self._writer = self._writer, None
        writer.__exit__(None, None, None)
        payload = VideoPayload(
            video=self._plan.video,
            video_bytes=writer.path.stat().st_size,
            sha256=sha256_of(writer.path),
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
        """Removes what is left; stops an encoder that has not ended."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            stopped = InterruptedError("given up")
            writer.__exit__(type(stopped), stopped, None)
        self._scratch.close()
