"""Random windows and scenes with animals, for training of detector and landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from joyvasa.sample.networks.animal_landmarks import (
    MIRRORED_LANDMARKS,
    WINDOW_EYES_Y,
    WINDOW_PIXELS,
    WINDOW_UNITS,
)
from joyvasa.sample.training.animal_media import AnimalPicture, eye_centers, face_axis, measure_unit
from joyvasa.sample.training.drawn_animals import draw_animal
from joyvasa.sample.training.training_media import TrainingPortrait

SCENE_PIXELS = 192
DRAWN, EMOJI = 0.35, 0.15  # shares of drawings made by code and of emoji; the others are photographs
CUT_OUT = 0.5  # share of photographs in front of another background
SCENE_UNITS = (8.0, 52.0)  # smallest and largest face in a scene, pixels
NO_ANIMAL, TWO_ANIMALS = 0.3, 0.2  # shares of scenes
PEOPLE = 0.6  # share of backgrounds of scenes that are portraits of people
BENDING = 0.07  # standard deviation of the random bending of faces, units
BENDING_CELLS = 5
Array = np.ndarray


@dataclass(frozen=True)
class SceneFace:
    """A face in a scene: middle of the window, unit in pixels, and direction down, in pixels of the scene."""

    center: Array
    unit: float
    down: Array


class AnimalSampler:
    """Sampler of pictures with known landmarks."""

    def __init__(self, animals: Sequence[AnimalPicture], portraits: Sequence[TrainingPortrait], *, seed: int) -> None:
        self._r = np.random.default_rng(seed)
        self._emoji = [animal for animal in animals if animal.name.startswith("e_")]
        self._photos = [animal for animal in animals if not animal.name.startswith("e_")]
        self._people = [portrait.image for portrait in portraits]

    def draw_window(self) -> tuple[Array, Array]:
        """Return a window, uint8 (WINDOW_PIXELS, WINDOW_PIXELS, 3), and its landmarks (15, 2), x and y in -1 to 1."""
        r, size = self._r, WINDOW_PIXELS
        animal = self._pick_animal()
        down = face_axis(animal.points)
        scale = size / WINDOW_UNITS / measure_unit(animal.points) * np.exp(r.normal(0, 0.14))
        angle = r.normal(0, 0.16) - np.arctan2(-down[0], down[1])
        linear = self._draw_linear(scale, angle)
        middle = eye_centers(animal.points).mean(0)
        target = np.array([0.5, 0.5 - WINDOW_EYES_Y / WINDOW_UNITS]) * size + r.normal(0, 0.17, 2) * size / WINDOW_UNITS
        matrix = np.column_stack([linear, target - linear @ middle])
        canvas = self._draw_background(size)
        image, points = self._place(canvas, animal, matrix)
        if r.random() < 0.5:
            image, points = image[:, ::-1], points[list(MIRRORED_LANDMARKS)] * [-1, 1] + [size - 1, 0]
        return self._degrade(image, hide=True), (points + 0.5) * 2 / size - 1

    def draw_scene(self) -> tuple[Array, list[SceneFace]]:
        """Return a scene, uint8 (SCENE_PIXELS, SCENE_PIXELS, 3), and the faces of animals in it."""
        r, size = self._r, SCENE_PIXELS
        image, faces = self._draw_background(size), []
        kind = r.random()
        count = 0 if kind < NO_ANIMAL else 2 if kind < NO_ANIMAL + TWO_ANIMALS else 1
        for _ in range(count):
            animal = self._pick_animal()
            unit = np.exp(r.uniform(*np.log(SCENE_UNITS)))
            linear = self._draw_linear(unit / measure_unit(animal.points), r.normal(0, 0.25))
            points = animal.points @ linear.T
            middle, down = eye_centers(points).mean(0), face_axis(points)
            center = middle + WINDOW_EYES_Y * unit * down
            margin = min(1.2 * unit, size / 2 - 1)
            target = r.uniform(margin, size - margin, 2)
            if any(np.linalg.norm(target - face.center) < 2.5 * (unit + face.unit) for face in faces):
                continue
            matrix = np.column_stack([linear, target - center])
            image, placed = self._place(image, animal, matrix, cut_out=bool(faces) or count > 1)
            unit, down = measure_unit(placed), face_axis(placed)
            faces.append(SceneFace(eye_centers(placed).mean(0) + WINDOW_EYES_Y * unit * down, unit, down))
        return self._degrade(image), faces

    def _pick_animal(self) -> AnimalPicture:
        r, kind = self._r, self._r.random()
        if kind < DRAWN or not self._photos:
            drawing = draw_animal(r)
            return AnimalPicture("e_drawn", drawing.image, drawing.mask, drawing.points)
        choices = self._emoji if kind < DRAWN + EMOJI and self._emoji else self._photos
        return choices[int(r.integers(len(choices)))]

    def _draw_linear(self, scale: float, angle: float) -> Array:
        """Return a rotation with a random change of proportions and shear, (2, 2)."""
        r = self._r
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        stretch, shear = np.exp(r.normal(0, 0.09)), r.normal(0, 0.06)
        return scale * turn @ np.array([[stretch, shear], [0, 1 / stretch]])

    def _place(
        self, canvas: Array, animal: AnimalPicture, matrix: Array, *, cut_out: bool = False
    ) -> tuple[Array, Array]:
        """Draw an animal on a canvas (size, size, 3); return the picture and the landmarks in it, pixels."""
        r, size = self._r, len(canvas)
        scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
        unit = scale * measure_unit(animal.points)
        amount = BENDING * unit * r.random()
        cells = r.normal(0, amount, (BENDING_CELLS, BENDING_CELLS, 2)).astype(np.float32)
        bend = cv2.resize(cells, (size, size), interpolation=cv2.INTER_CUBIC)

        y, x = np.mgrid[:size, :size].astype(np.float32)
        inverse = cv2.invertAffineTransform(matrix)
        origin = ((np.stack([x, y], -1) + bend) @ inverse[:, :2].T + inverse[:, 2]).astype(np.float32)
        image = animal.image
        if scale < 0.6:  # reduce first: bilinear sampling alone would alias
            image = cv2.GaussianBlur(image, (0, 0), 0.4 / scale)
        picture = cv2.remap(image, origin, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)  # type: ignore[call-overload]
        mask = cv2.remap(animal.mask, origin, None, cv2.INTER_LINEAR, borderValue=0)  # type: ignore[call-overload]

        has_background = not animal.name.startswith(("e_", "t_"))
        if has_background and not cut_out and r.random() > CUT_OUT:
            inside = cv2.remap(np.full(animal.mask.shape, 255, np.uint8), origin, None, cv2.INTER_LINEAR)  # type: ignore[call-overload]
            mask = np.full_like(mask, 255) if r.random() < 0.5 else inside
        alpha = mask[..., None].astype(np.float32) / 255
        picture = self._recolor(picture)
        result = canvas + alpha * (picture - canvas)

        # The bending field maps results to origins; invert it at the landmarks.
        straight = animal.points @ matrix[:, :2].T + matrix[:, 2]
        points = straight
        for _ in range(4):
            at = points.round().astype(int).clip(0, size - 1)
            points = straight - bend[at[:, 1], at[:, 0]]
        return result.clip(0, 255).astype(np.uint8), points

    def _draw_background(self, size: int) -> Array:
        """Return a part of a portrait of a person, or smooth random colors, float32 (size, size, 3)."""
        r = self._r
        if self._people and r.random() < PEOPLE:
            image = self._people[int(r.integers(len(self._people)))]
            side = int(min(image.shape[:2]) * r.uniform(0.4, 1))
            top, left = (int(r.integers(length - side + 1)) for length in image.shape[:2])
            part = image[top : top + side, left : left + side]
            background = cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA)
        else:
            cells = int(r.integers(1, 9))
            noise = r.normal(r.uniform(30, 220, 3), r.uniform(0, 70), (cells, cells, 3)).clip(0, 255)
            background = cv2.resize(noise.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
            background = background + r.normal(0, r.uniform(0, 20), (size, size, 1))
        return self._recolor(np.asarray(background).clip(0, 255))

    def _recolor(self, image: Array) -> Array:
        """Change hue, saturation, contrast and light at random; float32 (h, w, 3)."""
        r = self._r
        x = image.astype(np.float32) / 255
        gray = x.mean(-1, keepdims=True)
        x = gray + (x - gray) * (0.0 if r.random() < 0.1 else r.uniform(0.3, 1.6))
        if r.random() < 0.25:
            x = x[..., r.permutation(3)]
        x = x.clip(0, 1) ** np.exp(r.normal(0, 0.35)) * np.exp(r.normal(0, 0.12, 3)) + r.normal(0, 0.06)
        return x.clip(0, 1) * 255

    def _degrade(self, image: Array, *, hide: bool = False) -> Array:
        """Blur, add noise, and hide a part of a picture at random."""
        r = self._r
        image = np.ascontiguousarray(image.clip(0, 255).astype(np.uint8))
        if r.random() < 0.25:
            image = cv2.GaussianBlur(image, (0, 0), r.uniform(0.3, 1.3))
        if r.random() < 0.3:
            image = (image + r.normal(0, r.uniform(1, 12), image.shape)).clip(0, 255).astype(np.uint8)
        if hide and r.random() < 0.15:
            (x, y), (width, height) = r.integers(0, len(image), 2), r.integers(6, len(image) // 4, 2)
            image[y : y + height, x : x + width] = r.uniform(0, 255, 3)
        return image
