"""Videos that rows bring are looked at before they are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from joyvasa.errors import InputError
from joyvasa.faces.cascade import CascadeDetector
from joyvasa.faces.detection import MIN_FACE_SIDE, choose_face
from joyvasa.faces.geometry import CropConfig
from joyvasa.media.image import Image, read_image
from joyvasa.media.video_reader import VideoInfo, probe_video, stream_video
from joyvasa.metrics.support.reference_frame import Box, face_box
from joyvasa.runtime.files import sha256_of
from stages.base import Item, Ok, Outcome, Stage
from stages.isolation import map_each
from stages.media import local_file


@dataclass(frozen=True, kw_only=True)
class ReadVideoConfig:
    """How the face of a video is found.

    Attributes:
        crop: how the square around the face is chosen; the same as for portraits, so that numbers compare.
    """

    crop: CropConfig = field(default_factory=CropConfig)


@dataclass(frozen=True)
class ExistingVideo:
    """A video that another program has made.

    Attributes:
        info: size, rate, sound.
        face_box: as `Clip.face_box`, from the largest face of the first frame; None where none was found.
        still: the row's image, if it has one.
    """

    info: VideoInfo
    face_box: Box | None
    still: Image | None = None

    @property
    def n_bytes(self) -> int:
        """Memory of the arrays."""
        return 0 if self.still is None else self.still.nbytes


class ReadVideoStage(Stage):
    """Row `source_video` and, where given, `image` -> `FoundVideo`.

    Facts: `sha256`, `width`, `height`, `frames_per_second`, `bytes`.

    Faces are found by OpenCV's cascades, which need no weights; in mode `animal` none is looked for.

    Args:
        config: see `ReadVideoConfig`.
    """

    name = "read_video"
    columns: ClassVar = {"sha256": str}

    def __init__(self, config: ReadVideoConfig) -> None:
        self.config = config

    def setup(self) -> None:
        """Loads the cascades."""
        self._detector = CascadeDetector()

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Looks at one video after another."""
        return map_each(batch, self._look)

    def _look(self, item: Item) -> Outcome:
        record = item.record
        with local_file(record.require("video")) as path:
            info = probe_video(path)
            first = next(iter(stream_video(path, info=info, batch_frames=1)))[0]
            digest = sha256_of(path)
        still = None
        if record.image:
            with local_file(record.image) as path:
                still = read_image(path)
        box = None if record.mode == "animal" else self._face_box(first)
        found = ExistingVideo(info, box, still)
        facts = {
            "sha256": digest,
            "width": info.width,
            "height": info.height,
            "frames_per_second": float(info.frames_per_second),
            "bytes": found.n_bytes,
        }
        return Ok(found, facts)

    def _face_box(self, frame: np.ndarray) -> Box | None:
        try:
            choice = choose_face(
                self._detector.detect(frame), order="large-small", index=0, min_side=MIN_FACE_SIDE, name="first frame"
            )
        except InputError:  # no face, or too small a one: metrics of the face say so
            return None
        height, width = frame.shape[:2]
        return face_box(choice.face.crop(frame, self.config.crop), width=width, height=height, pasted=True)
