"""The teacher as a spectator: what it sees of mouth and eyes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from joyvasa.media.image import Image
from joyvasa.media.video_reader import stream_video
from joyvasa.sample.training.face_mesh import SURE, FaceMesh, box_of
from joyvasa.sample.training.head import Head
from joyvasa.sample.training.lids import LidReader
from joyvasa.sample.training.person import PersonFinder


@dataclass(frozen=True)
class Reading:
    """Frames of one face; not a number where it was not seen.

    Args:
        mouth: gap between the lips, distances between the eyes, shape (n,).
        lids: height over width of the eye that is further open, shape (n,).
    """

    mouth: np.ndarray
    lids: np.ndarray


class Watcher:
    """Looks at pictures and videos.

    Args:
        mean: of `mean_head`.

    Raises:
        EnvironmentFault: `extra_missing`.
    """

    def __init__(self, mean: np.ndarray) -> None:
        self.mean = mean
        self._mesh, self._lids, self._persons = FaceMesh(), LidReader(), PersonFinder()

    def find(self, image: Image, box: np.ndarray, *, looks: int = 4) -> np.ndarray | None:
        """The mesh of a face, (468, 3) in pixels; None where there is none.

        Args:
            image: uint8 RGB.
            box: about where it is: left, top, right, bottom, pixels.
            looks: see `FaceMesh.find`.
        """
        mesh = self._mesh.find(image, box, looks=looks)
        return mesh.points if mesh.score >= SURE else None

    def head(self, points: np.ndarray, size: int) -> Head:
        """The head of a mesh in a square picture."""
        return Head(points, self.mean, size)

    def lids(self, image: Image, points: np.ndarray) -> float:
        """Height over width of the eye that is further open."""
        return float(self._lids.opening(image, points).max())

    def person(self, image: Image) -> np.ndarray:
        """How much of each pixel is person, see `PersonFinder.find`."""
        return self._persons.find(image)

    def film(self, path: Path, box: np.ndarray, *, frames_per_second: float) -> Reading:
        """Follows the face of a video.

        Args:
            path: of the video.
            box: where its face is in the first frame.
            frames_per_second: of the readings.
        """
        mouth: list[float] = []
        lids: list[float] = []
        last = box
        for batch in stream_video(path, frames_per_second=frames_per_second):
            for image in batch:
                points = self.find(image, last, looks=4 if last is box else 2)
                if points is None:
                    last = box
                    mouth.append(np.nan)
                    lids.append(np.nan)
                    continue
                last = box_of(points)
                mouth.append(self.head(points, max(image.shape[:2])).gap)
                lids.append(self.lids(image, points))
        return Reading(np.array(mouth), np.array(lids))
