"""Whether a picture shows a person or an animal, as far as two cascades can tell."""

from __future__ import annotations

import threading

from joyvasa.faces.animal_cascade import AnimalCascadeDetector
from joyvasa.faces.haar import load_cascade, search_cascade, shrink_to_side, to_grayscale
from joyvasa.media.image import Image
from joyvasa.mode import Mode

# Scores of haarcascade_frontalface_alt2. What it takes for a person's face in animals stays below 56, what it finds
# in photographs of people looking at the camera is mostly above 56.5; in between nothing is said.
_WEAK_PERSON = 56.0
_SURE_PERSON = 56.5
_WORKING_SIDES = (320, 800)  # pixels; the larger one is searched only where the smaller one shows no sure face


class ModeCheck:
    """Looks at a picture once more with the cascade for people, and where that is not sure, with the one for cats.

    It is evidence and no proof: good for a warning, not for a refusal. The cat cascade answers to large eyes in a
    drawing of a person too, so its word counts only where the cascade for people finds little.

    One check serves one call at a time and makes other threads wait.

    Raises:
        ModelError: this OpenCV comes without its cascades.
    """

    def __init__(self) -> None:
        self._people = load_cascade("haarcascade_frontalface_alt2.xml")
        self._animals = AnimalCascadeDetector()
        self._lock = threading.Lock()

    def contradicts(self, mode: Mode, image: Image) -> bool:
        """Whether a uint8 RGB (height, width, 3) picture rather shows what the other mode is for."""
        person = self._person(image)
        if mode == "animal":
            return person >= _SURE_PERSON
        return person < _WEAK_PERSON and bool(self._animals.detect(image))

    def _person(self, image: Image) -> float:
        """The surest person's score; 0 without any."""
        gray, best = to_grayscale(image), 0.0
        for side in _WORKING_SIDES:
            with self._lock:
                hits = search_cascade(self._people, shrink_to_side(gray, side)[0], scale_step=1.1, min_neighbors=4, min_fraction=0.1)
            best = max([best, *(hit.score for hit in hits)])
            if best >= _WEAK_PERSON:
                break
        return best
