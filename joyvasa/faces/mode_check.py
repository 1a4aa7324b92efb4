"""Estimate with two cascades whether a picture shows a person or an animal."""

from __future__ import annotations

import threading

from joyvasa.faces.animal_cascade import AnimalCascadeDetector
from joyvasa.faces.haar import load_cascade, rgb_to_gray, search_cascade, shrink_to_side
from joyvasa.media.image import Image
from joyvasa.mode import Mode

# Scores of haarcascade_frontalface_alt2. False detections in pictures of animals score below 56, most frontal faces in
# photographs of people score above 56.5; scores in between are inconclusive.
_WEAK_PERSON = 56.0
_CERTAIN_PERSON = 56.5
_WORKING_SIDES = (320, 800)  # pixels; the larger size is used only if the smaller one has no certain face


class ModeCheck:
    """Compare a picture with its mode, using the cascade for people and, if that is inconclusive, the one for cats.

    The result is an indication that justifies a warning, not an error. The cat cascade also responds to large eyes in
    drawings of people, so it is used only if the cascade for people has a low score.

    Calls from several threads run one at a time, because OpenCV's classifiers are not thread-safe.

    Raises:
        ModelError: OpenCV is installed without its cascades.
    """

    def __init__(self) -> None:
        self._people = load_cascade("haarcascade_frontalface_alt2.xml")
        self._animals = AnimalCascadeDetector()
        self._lock = threading.Lock()

    def contradicts(self, mode: Mode, image: Image) -> bool:
        """Return whether a uint8 RGB (height, width, 3) picture seems to show the subject of the other mode."""
        score = self._score_person(image)
        if mode == "animal":
            return score >= _CERTAIN_PERSON
        return score < _WEAK_PERSON and bool(self._animals.detect(image))

    def _score_person(self, image: Image) -> float:
        """Return the highest score of a person's face; 0 if none is detected."""
        gray, best = rgb_to_gray(image), 0.0
        for side in _WORKING_SIDES:
            with self._lock:
                hits = search_cascade(
                    self._people, shrink_to_side(gray, side)[0], scale_step=1.1, min_neighbors=4, min_fraction=0.1
                )
            best = max([best, *(hit.score for hit in hits)])
            if best >= _WEAK_PERSON:
                break
        return best
