"""Stage `read_video`: probe an existing video and find its face before it is scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from joyvasa.bundles.detectors import load_people_detector
from joyvasa.errors import InputError
from joyvasa.faces.detection import MIN_FACE_SIDE, choose_face
from joyvasa.faces.geometry import CropConfig
from joyvasa.media.image import Image, read_image
from joyvasa.media.video_reader import VideoInfo, probe_video, stream_video
from joyvasa.metrics.support.reference_frame import Box, compute_face_box
from joyvasa.runtime.files import hash_file
from stages.base import Item, Ok, Outcome, Stage
from stages.failures import map_each
from stages.media import local_file


@dataclass(frozen=True)
class ExistingVideo:
    """A video from any system."""

    info: VideoInfo  # frame size, frame rate and sound of the video
    face_box: Box | None  # area of the largest face in the first frame, see `Clip.face_box`; None if there is no face
    image: Image | None = None  # image of the row, if any

    @property
    def n_bytes(self) -> int:
        """Size of the arrays in bytes."""
        return 0 if self.image is None else self.image.nbytes


class ReadVideoStage(Stage[CropConfig]):
    """Read `video` and, if given, `image` of a row.

    Payload: `ExistingVideo`. Facts: `sha256`, `width`, `height`, `frames_per_second`, `bytes`.

    Faces are found with BlazeFace, which is part of the program; in mode `animal` no face is searched.

    Args:
        config: geometry of the square around the face; as for portraits, so that metrics are comparable.
    """

    name = "read_video"
    columns: ClassVar = {"sha256": str}

    def setup(self) -> None:
        """Load the face detector."""
        self._detector = load_people_detector()

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Read one video at a time."""
        return map_each(batch, self._read)

    def _read(self, item: Item) -> Outcome:
        record = item.record
        with local_file(record.require("video"), self.media_cache) as path:
            info = probe_video(path)
            first = next(iter(stream_video(path, info=info, batch_frames=1)))[0]
            digest = hash_file(path)

        image = None
        if record.image:
            with local_file(record.image, self.media_cache) as path:
                image = read_image(path)

        box = None if record.mode == "animal" else self._find_face_box(first)
        payload = ExistingVideo(info, box, image)
        facts = {
            "sha256": digest,
            "width": info.width,
            "height": info.height,
            "frames_per_second": float(info.frames_per_second),
            "bytes": payload.n_bytes,
        }
        return Ok(payload, facts)

    def _find_face_box(self, frame: np.ndarray) -> Box | None:
        try:
            choice = choose_face(
                self._detector.detect(frame), order="large-small", index=0, min_side=MIN_FACE_SIDE, name="first frame"
            )
        except InputError:  # no face, or too small; reported by the metrics that need one
            return None
        height, width = frame.shape[:2]
        return compute_face_box(choice.face.crop(frame, self.config), width=width, height=height, pasted=True)
