"""Estimate whether a picture shows a person or an animal."""

from __future__ import annotations

from collections.abc import Sequence

from joyvasa.faces.animals import CERTAIN_ANIMAL
from joyvasa.faces.blazeface import BlazeFaceDetector
from joyvasa.faces.detection import Face
from joyvasa.media.image import Image
from joyvasa.mode import Mode

# Logit of the face mesh: faces of animals have at most 8, nearly all faces of people more; see `blazeface.py`.
_CERTAIN_PERSON = 12.0


class ModeCheck:
    """Compare a picture with its mode: the detector for people, and the one for animals if that finds none.

    The result is an indication that justifies a warning, not an error. Threads may share a check.
    """

    def __init__(self, people: BlazeFaceDetector) -> None:
        self.people = people

    def contradicts(self, mode: Mode, image: Image, people: Sequence[Face] | None = None) -> bool:
        """Return whether a picture, uint8 RGB (height, width, 3), seems to show the subject of the other mode.

        `people` are the faces that the detector for people found, if it ran already.
        """
        faces = self.people.detect(image) if people is None else people
        if mode == "animal":
            return any(face.score >= _CERTAIN_PERSON for face in faces)
        return not faces and self.people.animals.score_best(image) >= CERTAIN_ANIMAL
