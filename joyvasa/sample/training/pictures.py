"""Portraits and video frames with their meshes, made once and kept in a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from joyvasa.errors import InputError, JoyvasaError
from joyvasa.faces.cascade import CascadeDetector
from joyvasa.media.image import read_image
from joyvasa.media.video_reader import stream_video
from joyvasa.runtime.files import atomic_file
from joyvasa.sample.training.face_mesh import LEFT_EYE, RIGHT_EYE, SURE, FaceMesh, box_of
from joyvasa.sample.training.head import mean_head
from joyvasa.sample.training.lids import LidReader
from joyvasa.sample.training.mesh_points import N_POINTS
from joyvasa.sample.training.person import PersonFinder

SIZE = 256  # pixels of a crop
# Where the crop of joyvasa.faces.geometry puts the eyes; mean of 90 portraits, spread below 1 %.
EYES_APART, EYES_AT = 0.1875, (0.503, 0.4945)  # in sides of the crop
VIDEO_MARGIN = 0.86  # of the scale of a crop: room for jitter
VIDEO_RATE, VIDEO_FRAMES = 12.5, 260
AROUND = 0.8  # of the scale of a crop: in what the person is told from the background
OPEN_PERCENTILE, SHUT_LIDS = 60, 0.25  # of a video's lids: what is open, and the part of it that shut lids are read as
HELD_OUT = 6  # one of so many names is kept from training
PICTURES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Portrait:
    """A still picture, no larger than crops need."""

    name: str
    image: np.ndarray
    mesh: np.ndarray  # (468, 3), pixels of the image
    person: np.ndarray  # uint8, as large as the image: 255 where it shows a person, 0 where what is behind


@dataclass(frozen=True)
class Clip:
    """Frames of a talking face through one fixed crop that is a little wider than usual."""

    name: str
    frames: np.ndarray  # uint8 (n, SIZE, SIZE, 3)
    meshes: np.ndarray  # float32 (n, 468, 3), pixels of the crop
    lids: np.ndarray  # float32 (n, 2), height over width of the right and the left eye


@dataclass(frozen=True)
class _Teachers:
    meshes: FaceMesh
    lids: LidReader
    persons: PersonFinder


def held_out(name: str) -> bool:
    """Whether training never sees a file; by its name alone, so that it stays so when files are added."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % HELD_OUT == 0


def crop_matrix(
    mesh: np.ndarray, *, scale: float = 1.0, angle: float = 0.0, shift: np.ndarray | None = None
) -> np.ndarray:
    """Picture -> crop around a face, (2, 3).

    Args:
        mesh: (468, 3), pixels of the picture.
        scale: of the face, beside the usual one.
        angle: radians, beside upright.
        shift: of the face, pixels of the crop.
    """
    right, left = mesh[RIGHT_EYE, :2].mean(0), mesh[LEFT_EYE, :2].mean(0)
    across = left - right
    turn = angle - np.arctan2(across[1], across[0])
    size = scale * EYES_APART * SIZE / np.linalg.norm(across)
    linear = size * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    target = np.array(EYES_AT) * SIZE + (0 if shift is None else shift)
    return np.column_stack([linear, target - linear @ ((right + left) / 2)])


def transform(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (n, 3) through a (2, 3) similarity; z scales along."""
    size = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    return np.column_stack([points[:, :2] @ matrix[:, :2].T + matrix[:, 2], points[:, 2] * size]).astype(np.float32)


def cut(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The crop, (SIZE, SIZE, 3); black outside of the picture."""
    return cv2.warpAffine(image, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR)


class Pictures:
    """Everything that training looks at.

    Args:
        media: folder with `portraits/` and `videos/`.
        cache: folder for what was found in them.
    """

    def __init__(self, media: Path, cache: Path) -> None:
        self._media, self._cache = media, cache
        self._teachers: _Teachers | None = None
        self._detector = CascadeDetector()

    def portraits(self) -> list[Portrait]:
        """All pictures in which the detector and the teacher see a face."""
        found = []
        for path in sorted((self._media / "portraits").iterdir()):
            if path.suffix.lower() not in PICTURES:
                continue
            kept = self._kept(path, self._portrait)
            if len(kept["mesh"]):
                found.append(Portrait(path.name, **kept))
        if not found:
            raise InputError("no_faces", f"{self._media}/portraits: no face found; expected portraits: add some")
        return found

    def clips(self) -> list[Clip]:
        """All videos in which a face is followed."""
        paths = sorted((self._media / "videos").glob("*.mp4"))
        kept = [(path.name, self._kept(path, self._clip)) for path in paths]
        return [
            Clip(name, arrays["frames"], arrays["meshes"], arrays["lids"])
            for name, arrays in kept
            if len(arrays["frames"])
        ]

    def mean(self) -> np.ndarray:
        """The mean head of the portraits that are trained on."""
        meshes = [p.mesh for p in self.portraits() if not held_out(p.name)]
        return mean_head([transform(mesh, crop_matrix(mesh)) for mesh in meshes])

    def _kept(self, path: Path, make: Callable[[Path], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        place = self._cache / f"{path.name}-{path.stat().st_size}-{make.__name__.strip('_')}.npz"
        if not place.exists():
            self._teachers = self._teachers or _Teachers(FaceMesh(), LidReader(), PersonFinder())
            with atomic_file(place) as staged:
                np.savez(staged, **make(path))  # type: ignore[arg-type]
        with np.load(place) as arrays:
            return dict(arrays)

    def _portrait(self, path: Path) -> dict[str, np.ndarray]:
        image, mesh = np.zeros((0, 0, 3), np.uint8), np.zeros((0, 3), np.float32)
        nothing = {"image": image, "mesh": mesh, "person": image[..., 0]}
        try:
            image = read_image(path)
        except JoyvasaError:
            return nothing
        mesh = self._find(image)
        if mesh is None:
            return nothing
        size = 1.25 * float(np.linalg.norm(crop_matrix(mesh)[:, 0]))
        if size < 0.75:
            image = cv2.resize(image, None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
            mesh = mesh * np.float32(size)
        return {"image": image, "mesh": mesh, "person": self._person(image, mesh)}

    def _person(self, image: np.ndarray, mesh: np.ndarray) -> np.ndarray:
        """Looks at a little more than the crop, as crops are drawn with some jitter."""
        assert self._teachers is not None
        middle = SIZE / 2 * (1 - AROUND)
        matrix = crop_matrix(mesh) * AROUND + np.array([[0, 0, middle], [0, 0, middle]])
        person = (self._teachers.persons.find(cut(image, matrix)) * 255).astype(np.uint8)
        size = (image.shape[1], image.shape[0])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(person, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)

    def _clip(self, path: Path) -> dict[str, np.ndarray]:
        assert self._teachers is not None
        frames, meshes, lids = [], [], []
        for image, mesh, matrix in self._follow(path):
            lids.append(self._teachers.lids.opening(image, mesh))
            size = 1.3 * float(np.linalg.norm(matrix[:, 0]))
            if size < 0.78:
                image = cv2.resize(image, None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
                matrix_small = matrix.copy()
                matrix_small[:, :2] /= size
            else:
                matrix_small = matrix
            frames.append(cut(image, matrix_small))
            meshes.append(transform(mesh, matrix))
            if len(frames) == VIDEO_FRAMES:
                break
        return {
            "frames": np.array(frames, np.uint8).reshape(-1, SIZE, SIZE, 3),
            "meshes": np.array(meshes, np.float32).reshape(-1, N_POINTS, 3),
            "lids": np.array(lids, np.float32).reshape(-1, 2),
        }

    def _follow(self, path: Path) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Frames, meshes, and the crop of the first of them."""
        assert self._teachers is not None
        last: np.ndarray | None = None
        matrix: np.ndarray | None = None
        for batch in stream_video(path, frames_per_second=VIDEO_RATE):
            for image in batch:
                if last is None:
                    last = self._find(image)
                else:
                    mesh = self._teachers.meshes.find(image, box_of(last), looks=2)
                    last = mesh.points if mesh.score >= SURE else None
                if last is None:
                    continue
                if matrix is None:
                    middle = SIZE / 2 * (1 - VIDEO_MARGIN)
                    matrix = crop_matrix(last) * VIDEO_MARGIN + np.array([[0, 0, middle], [0, 0, middle]])
                yield image, last, matrix

    def _find(self, image: np.ndarray) -> np.ndarray | None:
        assert self._teachers is not None
        faces = self._detector.detect(image)
        if not faces:
            return None
        mesh = self._teachers.meshes.find(image, faces[0].box)
        return mesh.points if mesh.score >= SURE else None


def lids_shut(clip: Clip) -> np.ndarray:
    """How far the eyes of each frame are shut, (n, 2) right and left; 0 as they mostly are, 1 shut."""
    opening = clip.lids / np.percentile(clip.lids, OPEN_PERCENTILE, axis=0)
    return np.clip((1 - opening) / (1 - SHUT_LIDS), -0.15, 1)
