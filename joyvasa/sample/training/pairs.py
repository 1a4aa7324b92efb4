"""Random pairs of pictures of one face, the portrait and the driven face, rendered on the fly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from joyvasa.motion.keypoints import head_rotation
from joyvasa.sample.networks.points import MIRRORED
from joyvasa.sample.training.eyes import MAX_GROWTH, EnlargedEyes, blank_eyes, to_grayscale
from joyvasa.sample.training.head import Expression, Head
from joyvasa.sample.training.mesh_points import load_mesh_points
from joyvasa.sample.training.moustache import draw_moustache
from joyvasa.sample.training.mouth import fill_polygon
from joyvasa.sample.training.scene_rendering import render_scene
from joyvasa.sample.training.training_media import (
    SIZE,
    TrainingClip,
    TrainingPortrait,
    alignment_matrix,
    crop_image,
    measure_eye_closure,
    transform_mesh,
)

REAL = 0.2  # share of pairs that are two frames of a video
BACKWARDS = 0.15  # share of rendered pairs whose target is the portrait, with real pixels
NEW_BACKGROUND = 0.4  # share of rendered pairs with another background
BLURRED, MAX_BLUR = 0.6, 8.0  # share of these that are out of focus; maximum blur in pixels
LAMPS = 0.25  # share of rendered pairs with lights out of focus behind the person
LARGE_EYES = 0.25  # share of rendered pairs with enlarged eyes, as in drawings
BLANK_EYES = 0.2  # share of rendered pairs without iris and color, as statues
GRAY = 0.15  # share of all pairs without color
TURN_DEGREES = (7.0, 10.0, 6.0)  # standard deviations of pitch, yaw, roll
MAX_DEGREES = 18.0
_SWAPPED = list(range(21))
for _a, _b in MIRRORED:
    _SWAPPED[_a], _SWAPPED[_b] = _b, _a


@dataclass(frozen=True)
class TrainingPair:
    """A source and a target picture."""

    source: np.ndarray  # float32 (SIZE, SIZE, 3), 0 to 255
    target: np.ndarray  # float32 (SIZE, SIZE, 3), 0 to 255
    source_points: np.ndarray  # keypoints (21, 3), x and y in -1 to 1
    target_points: np.ndarray  # keypoints (21, 3), x and y in -1 to 1
    origin: np.ndarray  # position of each target pixel in the source, (SIZE, SIZE, 2), in -1 to 1; NaN where unknown
    painted: np.ndarray  # (SIZE, SIZE), 1 where the content of the target is not in the source


class PairSampler:
    """Sampler of random pairs.

    Args:
        portraits: portraits to animate.
        clips: videos for pairs of real frames; may be empty.
        mean: mean head, see `mean_head`.
        seed: seed of all random choices.
        max_blink: maximum closure of keypoints of shut eyes, see `Expression.blink`.
        augment_eyes: whether some portraits get large or blank eyes or lose their color.
        moustaches: share of rendered pairs with a moustache.
    """

    def __init__(
        self,
        portraits: Sequence[TrainingPortrait],
        clips: Sequence[TrainingClip],
        mean: np.ndarray,
        *,
        seed: int,
        max_blink: float = 1.0,
        augment_eyes: bool = True,
        moustaches: float = 0.0,
    ) -> None:
        self._random, self._max_blink = np.random.default_rng(seed), max_blink
        self._large, self._blank, self._gray = (LARGE_EYES, BLANK_EYES, GRAY) if augment_eyes else (0, 0, 0)
        self._moustaches = moustaches
        self._portraits, self._mean = portraits, mean
        self._clips = [(clip, measure_eye_closure(clip)) for clip in clips]

    def draw(self) -> TrainingPair:
        """Return the next pair, with random colors, and mirrored half of the time."""
        r = self._random
        pair = self._draw_real() if self._clips and r.random() < REAL else self._draw_rendered()
        source, target = pair.source, pair.target
        if r.random() < self._gray:
            source, target = to_grayscale(source), to_grayscale(target)
        source, target = self._recolor(source, target)
        pair = replace(pair, source=source, target=target)
        return mirror_pair(pair) if r.random() < 0.5 else pair

    def _draw_rendered(self) -> TrainingPair:
        r = self._random
        portrait = self._portraits[int(r.integers(len(self._portraits)))]
        matrix = alignment_matrix(
            portrait.mesh, scale=np.exp(r.normal(0, 0.07)), angle=r.normal(0, 0.05), shift=r.normal(0, 0.02, 2) * SIZE
        )
        crop, person = crop_image(portrait.image, matrix), crop_image(portrait.person, matrix)

        if r.random() < NEW_BACKGROUND:
            crop = self._replace_background(crop, person)
        if r.random() < LAMPS:
            crop = self._add_lamps(crop, person)
        mesh = transform_mesh(portrait.mesh, matrix)
        if r.random() < self._large:
            large = EnlargedEyes(mesh, r.uniform(1, MAX_GROWTH))
            crop, mesh = large.warp_picture(crop), large.move_points(mesh)

        head = Head(mesh, self._mean, SIZE)
        blank = r.random() < self._blank
        if blank:
            crop = blank_eyes(crop, head, carved=r.random())
        if self._moustaches and r.random() < self._moustaches:
            crop = draw_moustache(crop, head, r)

        turn = np.eye(3)
        if r.random() < 0.85:
            turn = rotation_matrix(*(r.normal(0, 1, 3) * TURN_DEGREES).clip(-MAX_DEGREES, MAX_DEGREES))
        pose = head.turn(turn, growth=np.exp(r.normal(0, 0.03)), shift=tuple(r.normal(0, 3, 2)))
        scene = render_scene(crop, head, self._draw_expression(head.gap), pose, person=person)
        at_rest = to_keypoint_units(head.keypoints(head.face, (0, 0), head.pose))
        driven = to_keypoint_units(scene.keypoints)
        picture, moved = crop.astype(np.float32), scene.picture
        if blank:
            picture, moved = to_grayscale(picture), to_grayscale(moved)

        if r.random() < BACKWARDS:
            not_painted = np.zeros((SIZE, SIZE), np.float32)
            return TrainingPair(moved, picture, driven, at_rest, np.full_like(scene.origin, np.nan), not_painted)
        return TrainingPair(picture, moved, at_rest, driven, (scene.origin + 0.5) * 2 / SIZE - 1, scene.painted)

    def _replace_background(self, crop: np.ndarray, person: np.ndarray) -> np.ndarray:
        """Replace the background by a part of another portrait, sharp or blurred."""
        r = self._random
        other = self._portraits[int(r.integers(len(self._portraits)))].image
        side = int(min(other.shape[:2]) * r.uniform(0.2, 1))
        top, left = (int(r.integers(length - side + 1)) for length in other.shape[:2])
        behind = cv2.resize(other[top : top + side, left : left + side], (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        if r.random() < BLURRED:
            behind = cv2.GaussianBlur(behind, (0, 0), r.uniform(1, MAX_BLUR))
        alpha = cv2.GaussianBlur(person, (0, 0), 1)[..., None].astype(np.float32) / 255
        return (behind + alpha * (crop.astype(np.float32) - behind)).round().astype(np.uint8)

    def _add_lamps(self, crop: np.ndarray, person: np.ndarray) -> np.ndarray:
        """Add soft lights behind the person, which lower the contrast at its edges."""
        r = self._random
        y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
        light = np.zeros((SIZE, SIZE, 3), np.float32)
        for _ in range(int(r.integers(1, 5))):
            distance = np.hypot(x - r.uniform(0, SIZE), (y - r.uniform(0, SIZE)) * r.uniform(0.3, 1.5))
            glow = np.exp(-((distance / r.uniform(8, 60)) ** 2))
            light += glow[..., None] * (r.uniform(40, 160) * np.array([1, r.uniform(0.6, 1), r.uniform(0.3, 1)]))
        behind = 1 - cv2.GaussianBlur(person, (0, 0), r.uniform(0.7, 3)).astype(np.float32)[..., None] / 255
        return (crop + behind * light).clip(0, 255).round().astype(np.uint8)

    def _draw_real(self) -> TrainingPair:
        r = self._random
        clip, shut = self._clips[int(r.integers(len(self._clips)))]
        size, angle = np.exp(r.uniform(0, 0.26)), r.normal(0, 0.04)
        linear = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        center = np.full(2, SIZE / 2)
        matrix = np.column_stack([linear, center + r.normal(0, 6, 2) - linear @ center])

        pictures, points, meshes = [], [], []
        for number in r.integers(len(clip.frames), size=2):
            pictures.append(crop_image(clip.frames[number], matrix).astype(np.float32))
            mesh = transform_mesh(clip.meshes[number], matrix)
            head = Head(mesh, self._mean, SIZE)
            points.append(to_keypoint_units(head.keypoints(head.face, tuple(shut[number]), head.pose)))
            meshes.append(mesh)

        lips = load_mesh_points()
        inside = np.concatenate([lips.lips_upper[0], lips.lips_lower[0][::-1][1:-1]])
        unknown = np.full((SIZE, SIZE, 2), np.nan, np.float32)
        painted = fill_polygon(SIZE, meshes[1][inside, :2])
        return TrainingPair(pictures[0], pictures[1], points[0], points[1], unknown, painted)

    def _draw_expression(self, gap: float) -> Expression:
        r = self._random
        kind, eyes = r.random(), r.random()
        shut = 0.0 if eyes < 0.35 else r.uniform(1.0, self._max_blink) if eyes < 0.65 else r.random()
        brow = r.normal(0, 0.07) * (r.random() < 0.4)
        raised = r.random() < 0.4

        return Expression(
            jaw=max(0.0, gap) if kind < 0.15 else 0.0 if kind < 0.35 else 0.5 * r.beta(1.2, 3),
            wide=r.normal(0, 0.07) * (r.random() < 0.5),
            smile=r.normal(0.03, 0.08) * (r.random() < 0.3),
            upper=abs(r.normal(0, 0.035)) * raised,
            lower=abs(r.normal(0, 0.05)) * raised,
            pucker=r.uniform(0, 0.25) * (r.random() < 0.3),
            blink=(shut, shut if r.random() < 0.85 else r.random()),
            brow=(brow, brow + r.normal(0, 0.02)),
        )

    def _recolor(self, *pictures: np.ndarray) -> list[np.ndarray]:
        """Apply the same random change of light and color to all pictures."""
        r = self._random
        gamma, gain = np.exp(r.normal(0, 0.12)), np.exp(r.normal(0, 0.12)) * np.exp(r.normal(0, 0.05, 3))
        offset = r.normal(0, 6)
        return [
            ((picture / 255) ** gamma * gain * 255 + offset).clip(0, 255).astype(np.float32) for picture in pictures
        ]


def mirror_pair(pair: TrainingPair) -> TrainingPair:
    """Return the pair mirrored left to right."""

    def mirror_points(points: np.ndarray) -> np.ndarray:
        return points[_SWAPPED] * [-1, 1, 1]

    return TrainingPair(
        source=np.ascontiguousarray(pair.source[:, ::-1]),
        target=np.ascontiguousarray(pair.target[:, ::-1]),
        source_points=mirror_points(pair.source_points),
        target_points=mirror_points(pair.target_points),
        origin=pair.origin[:, ::-1] * np.array([-1, 1], np.float32),
        painted=pair.painted[:, ::-1],
    )


def channels_first(pictures: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Stack pictures (H, W, C) to a batch (B, C, H, W)."""
    return np.ascontiguousarray(np.stack([*pictures]).transpose(0, 3, 1, 2))


def to_keypoint_units(pixels: np.ndarray) -> np.ndarray:
    """Convert points (n, 3) from pixels of a crop to units of keypoints, in which the crop spans -1 to 1."""
    return (pixels + np.array([0.5, 0.5, 0])) * 2 / SIZE - np.array([1, 1, 0])


def rotation_matrix(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """Return `joyvasa.motion.keypoints.head_rotation` for angles in degrees, (3, 3)."""
    return head_rotation(*(torch.tensor([[angle]]) for angle in (pitch, yaw, roll)))[0].double().numpy()
