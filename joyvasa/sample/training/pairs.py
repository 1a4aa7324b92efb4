"""Pairs of pictures of one face: the portrait and the same face driven; rendered on the fly, never the same twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from joyvasa.motion.keypoints import head_rotation
from joyvasa.sample.networks.points import MIRRORED
from joyvasa.sample.training.eyes import MOST_GROWN, LargeEyes, faded, with_blank_eyes
from joyvasa.sample.training.head import Expression, Head
from joyvasa.sample.training.mesh_points import mesh_points
from joyvasa.sample.training.mouth import polygon
from joyvasa.sample.training.pictures import SIZE, Clip, Portrait, crop_matrix, cut, lids_shut, transform
from joyvasa.sample.training.scenes import render

REAL = 0.2  # share of pairs that are two frames of a video
BACKWARDS = 0.15  # share of the rest in which the portrait is the driven picture: its pixels are real
ELSEWHERE = 0.4  # share of the rest in which the person stands before another background
UNSHARP, MOST_BLURRED = 0.6, 8.0  # share of these that are out of focus; pixels
LAMPS = 0.25  # share of the rest with lights out of focus behind the person
LARGE_EYES = 0.25  # share of the rest with eyes as drawings have them
BLANK_EYES = 0.2  # share of the rest that are statues: no iris, no colour
GREY = 0.15  # share of all pairs that have no colour
TURN_DEGREES = (7.0, 10.0, 6.0)  # standard deviations of pitch, yaw, roll
MOST_DEGREES = 18.0
_SWAPPED = list(range(21))
for _a, _b in MIRRORED:
    _SWAPPED[_a], _SWAPPED[_b] = _b, _a


@dataclass(frozen=True)
class Pair:
    """A source and a target.

    Args:
        source, target: float32 (SIZE, SIZE, 3), 0 to 255.
        source_points, target_points: (21, 3), x and y in -1 to 1.
        origin: (SIZE, SIZE, 2), where each pixel of the target is in the source, in -1 to 1; NaN where unknown.
        painted: (SIZE, SIZE), 1 where it is nowhere in the source.
    """

    source: np.ndarray
    target: np.ndarray
    source_points: np.ndarray
    target_points: np.ndarray
    origin: np.ndarray
    painted: np.ndarray


@dataclass(frozen=True)
class PairSource:
    """All that a `PairSampler` needs; travels to the process that draws.

    Args:
        portraits, clips, mean, seed: see `PairSampler`.
    """

    portraits: Sequence[Portrait]
    clips: Sequence[Clip]
    mean: np.ndarray
    seed: int

    def sampler(self, *, most_shut: float = 1.0, as_they_are: bool = False) -> PairSampler:
        """Draws from the beginning; see `PairSampler`."""
        return PairSampler(
            self.portraits, self.clips, self.mean, seed=self.seed, most_shut=most_shut, as_they_are=as_they_are
        )


class PairSampler:
    """Draws pairs.

    Args:
        portraits: to animate.
        clips: to take pairs of frames from; may be empty.
        mean: of `mean_head`.
        seed: of all that is drawn.
        most_shut: blink of keypoints up to which eyes are just shut.
        as_they_are: portraits keep their eyes and their colour.
    """

    def __init__(
        self,
        portraits: Sequence[Portrait],
        clips: Sequence[Clip],
        mean: np.ndarray,
        *,
        seed: int,
        most_shut: float = 1.0,
        as_they_are: bool = False,
    ) -> None:
        self._random, self._most_shut = np.random.default_rng(seed), most_shut
        self._large, self._blank, self._grey = (0, 0, 0) if as_they_are else (LARGE_EYES, BLANK_EYES, GREY)
        self._portraits, self._mean = portraits, mean
        self._clips = [(clip, lids_shut(clip)) for clip in clips]

    def draw(self) -> Pair:
        """The next pair, in other colours, and mirrored half of the time."""
        r = self._random
        pair = self._real() if self._clips and r.random() < REAL else self._rendered()
        source, target = pair.source, pair.target
        if r.random() < self._grey:
            source, target = faded(source), faded(target)
        source, target = self._recoloured(source, target)
        pair = Pair(source, target, pair.source_points, pair.target_points, pair.origin, pair.painted)
        return mirrored(pair) if r.random() < 0.5 else pair

    def _rendered(self) -> Pair:
        r = self._random
        portrait = self._portraits[int(r.integers(len(self._portraits)))]
        matrix = crop_matrix(
            portrait.mesh, scale=np.exp(r.normal(0, 0.07)), angle=r.normal(0, 0.05), shift=r.normal(0, 0.02, 2) * SIZE
        )
        crop, person = cut(portrait.image, matrix), cut(portrait.person, matrix)
        if r.random() < ELSEWHERE:
            crop = self._elsewhere(crop, person)
        if r.random() < LAMPS:
            crop = self._lamps(crop, person)
        mesh = transform(portrait.mesh, matrix)
        if r.random() < self._large:
            large = LargeEyes(mesh, r.uniform(1, MOST_GROWN))
            crop, mesh = large.picture(crop), large.points(mesh)
        head = Head(mesh, self._mean, SIZE)
        blank = r.random() < self._blank
        if blank:
            crop = with_blank_eyes(crop, head, carved=r.random())
        turn = np.eye(3)
        if r.random() < 0.85:
            turn = rotation(*(r.normal(0, 1, 3) * TURN_DEGREES).clip(-MOST_DEGREES, MOST_DEGREES))
        pose = head.turned(turn, growth=np.exp(r.normal(0, 0.03)), shift=tuple(r.normal(0, 3, 2)))
        scene = render(crop, head, self._expression(head.gap), pose, person=person)
        at_rest = to_unit(head.keypoints(head.face, (0, 0), head.pose))
        driven = to_unit(scene.keypoints)
        picture, moved = crop.astype(np.float32), scene.picture
        if blank:
            picture, moved = faded(picture), faded(moved)
        if r.random() < BACKWARDS:
            nowhere = np.zeros((SIZE, SIZE), np.float32)
            return Pair(moved, picture, driven, at_rest, np.full_like(scene.origin, np.nan), nowhere)
        return Pair(picture, moved, at_rest, driven, (scene.origin + 0.5) * 2 / SIZE - 1, scene.painted)

    def _elsewhere(self, crop: np.ndarray, person: np.ndarray) -> np.ndarray:
        """The person before a part of another portrait, sharp or not, so that what is behind may be anything."""
        r = self._random
        other = self._portraits[int(r.integers(len(self._portraits)))].image
        side = int(min(other.shape[:2]) * r.uniform(0.2, 1))
        top, left = (int(r.integers(length - side + 1)) for length in other.shape[:2])
        behind = cv2.resize(other[top : top + side, left : left + side], (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        if r.random() < UNSHARP:
            behind = cv2.GaussianBlur(behind, (0, 0), r.uniform(1, MOST_BLURRED))
        alpha = cv2.GaussianBlur(person, (0, 0), 1)[..., None].astype(np.float32) / 255
        return (behind + alpha * (crop.astype(np.float32) - behind)).round().astype(np.uint8)

    def _lamps(self, crop: np.ndarray, person: np.ndarray) -> np.ndarray:
        """With soft lights behind the person, whose edges are told from it by little."""
        r = self._random
        y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
        light = np.zeros((SIZE, SIZE, 3), np.float32)
        for _ in range(int(r.integers(1, 5))):
            distance = np.hypot(x - r.uniform(0, SIZE), (y - r.uniform(0, SIZE)) * r.uniform(0.3, 1.5))
            glow = np.exp(-((distance / r.uniform(8, 60)) ** 2))
            light += glow[..., None] * (r.uniform(40, 160) * np.array([1, r.uniform(0.6, 1), r.uniform(0.3, 1)]))
        behind = 1 - cv2.GaussianBlur(person, (0, 0), r.uniform(0.7, 3)).astype(np.float32)[..., None] / 255
        return (crop + behind * light).clip(0, 255).round().astype(np.uint8)

    def _real(self) -> Pair:
        r = self._random
        clip, shut = self._clips[int(r.integers(len(self._clips)))]
        size, angle = np.exp(r.uniform(0, 0.26)), r.normal(0, 0.04)
        linear = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        centre = np.full(2, SIZE / 2)
        matrix = np.column_stack([linear, centre + r.normal(0, 6, 2) - linear @ centre])
        pictures, points, mouths = [], [], []
        for number in r.integers(len(clip.frames), size=2):
            pictures.append(cut(clip.frames[number], matrix).astype(np.float32))
            mesh = transform(clip.meshes[number], matrix)
            head = Head(mesh, self._mean, SIZE)
            points.append(to_unit(head.keypoints(head.face, tuple(shut[number]), head.pose)))
            mouths.append(mesh)
        lips = mesh_points()
        inside = np.concatenate([lips.lips_upper[0], lips.lips_lower[0][::-1][1:-1]])
        unknown = np.full((SIZE, SIZE, 2), np.nan, np.float32)
        opened = polygon(SIZE, mouths[1][inside, :2])
        return Pair(pictures[0], pictures[1], points[0], points[1], unknown, opened)

    def _expression(self, gap: float) -> Expression:
        r = self._random
        kind, eyes = r.random(), r.random()
        shut = 0.0 if eyes < 0.35 else r.uniform(1.0, self._most_shut) if eyes < 0.65 else r.random()
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

    def _recoloured(self, *pictures: np.ndarray) -> list[np.ndarray]:
        """The same change of light and colour for all."""
        r = self._random
        gamma, gain = np.exp(r.normal(0, 0.12)), np.exp(r.normal(0, 0.12)) * np.exp(r.normal(0, 0.05, 3))
        offset = r.normal(0, 6)
        return [
            ((picture / 255) ** gamma * gain * 255 + offset).clip(0, 255).astype(np.float32) for picture in pictures
        ]


def mirrored(pair: Pair) -> Pair:
    """The same in a mirror."""

    def points(of: np.ndarray) -> np.ndarray:
        return of[_SWAPPED] * [-1, 1, 1]

    return Pair(
        source=np.ascontiguousarray(pair.source[:, ::-1]),
        target=np.ascontiguousarray(pair.target[:, ::-1]),
        source_points=points(pair.source_points),
        target_points=points(pair.target_points),
        origin=pair.origin[:, ::-1] * np.array([-1, 1], np.float32),
        painted=pair.painted[:, ::-1],
    )


def to_unit(pixels: np.ndarray) -> np.ndarray:
    """Points in pixels of a crop, (n, 3), in the units of keypoints: the crop spans -1 to 1."""
    return (pixels + np.array([0.5, 0.5, 0])) * 2 / SIZE - np.array([1, 1, 0])


def rotation(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """`joyvasa.motion.keypoints.head_rotation` of angles in degrees, (3, 3)."""
    return head_rotation(*(torch.tensor([[angle]]) for angle in (pitch, yaw, roll)))[0].double().numpy()
