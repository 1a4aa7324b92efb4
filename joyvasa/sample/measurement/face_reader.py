"""Reading of mouth and eyes in pictures and videos by the teacher's networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from joyvasa.media.image import Image
from joyvasa.media.video_reader import stream_frames
from joyvasa.sample.training.face_mesh import FaceMeshDetector
from joyvasa.sample.training.head import Head
from joyvasa.sample.training.lids import LidReader
from joyvasa.sample.training.person_segmentation import PersonSegmenter


@dataclass(frozen=True)
class Reading:
    """Readings of one face in the frames of a video; NaN where the face was not found."""

    mouth: np.ndarray  # gap between the lips in eye distances, shape (n,)
    lids: np.ndarray  # height over width of the eye that is further open, shape (n,)


class FaceReader:
    """Reads faces with the face mesh, the iris network and the person segmentation.

    Raises:
        EnvironmentFault: `extra_missing`.
    """

    def __init__(self, mean: np.ndarray) -> None:
        self.mesh, self.persons = FaceMeshDetector(), PersonSegmenter()
        self._mean, self._lids = mean, LidReader()

    def build_head(self, points: np.ndarray, size: int) -> Head:
        """Return the head of a mesh in a square picture."""
        return Head(points, self._mean, size)

    def read_eye_opening(self, image: Image, points: np.ndarray) -> float:
        """Return height over width of the eye that is further open."""
        return float(self._lids.read_openings(image, points).max())

    def read_video(self, path: Path, box: np.ndarray, *, frames_per_second: float) -> Reading:
        """Track and read the face of a video, given its box in the first frame."""
        mouth: list[float] = []
        lids: list[float] = []
        for image, points in self.mesh.track(stream_frames(path, frames_per_second=frames_per_second), box):
            if points is None:
                mouth.append(np.nan)
                lids.append(np.nan)
            else:
                mouth.append(self.build_head(points, max(image.shape[:2])).gap)
                lids.append(self.read_eye_opening(image, points))
        return Reading(np.array(mouth), np.array(lids))
