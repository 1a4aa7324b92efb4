"""Estimate with two detectors whether a picture shows a person or an animal."""

from __future__ import annotations

import threading

from joyvasa.faces.animals import AnimalDetector, load_animal_network
from joyvasa.faces.haar import load_cascade, rgb_to_gray, search_cascade, shrink_to_side
from joyvasa.media.image import Image
from joyvasa.mode import Mode

# Scores of haarcascade_frontalface_alt2. False detections in pictures of animals score below 56, most frontal faces in
# photographs of people score above 56.5; scores in between are inconclusive.
_WEAK_PERSON = 56.0
_CERTAIN_PERSON = 56.5
_CERTAIN_ANIMAL = 0.7  # score of the detector for animals; those of people reach 0.5, rarely more
_WORKING_SIDES = (320, 800)  # pixels; the larger size is used only if the smaller one has no certain face


class ModeCheck:
    """Compare a picture with its mode: the cascade for people, and the detector for animals if that is inconclusive.

    The result is an indication that justifies a warning, not an error.

    Calls from several threads run one at a time, because OpenCV's classifiers are not thread-safe.

    Raises:
        ModelError: OpenCV is installed without its cascades, or the package without its network for animals.
    """

    def __init__(self) -> None:
        self._people = load_cascade("haarcascade_frontalface_alt2.xml")
        self._animals = AnimalDetector(load_animal_network())
        self._lock = threading.Lock()

    def contradicts(self, mode: Mode, image: Image) -> bool:
        """Return whether a uint8 RGB (height, width, 3) picture seems to show the subject of the other mode."""
        score = self._score_person(image)
        if mode == "animal":
            return score >= _CERTAIN_PERSON
        return score < _WEAK_PERSON and self._animals.score_best(image) >= _CERTAIN_ANIMAL

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
