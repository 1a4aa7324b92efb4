"""Portraits and video frames with their face meshes, computed once and cached in a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from joyvasa.bundles.detectors import load_people_detector
from joyvasa.errors import InputError, JoyvasaError
from joyvasa.media.image import Image, read_image
from joyvasa.media.video_reader import stream_frames
from joyvasa.runtime.files import atomic_file
from joyvasa.sample.training.face_mesh import LEFT_EYE, RIGHT_EYE, FaceMeshDetector, bounding_box
from joyvasa.sample.training.head import mean_head
from joyvasa.sample.training.lids import LidReader
from joyvasa.sample.training.mesh_points import N_POINTS
from joyvasa.sample.training.person_segmentation import PersonSegmenter

SIZE = 256  # pixels of a crop
# Distance and center of the eyes in the crop of joyvasa.faces.geometry; mean of 90 portraits, spread below 1 %.
EYES_APART, EYES_AT = 0.1875, (0.503, 0.4945)  # in sides of the crop
VIDEO_SCALE = 0.86  # scale of the face in frames of videos relative to the usual crop: room for jitter
VIDEO_RATE, MAX_VIDEO_FRAMES = 12.5, 260
PERSON_SCALE = 0.8  # scale of the face in the picture that is segmented relative to the usual crop
OPEN_PERCENTILE = 60  # of the eye openings in a video: open eyes
SHUT_OPENING = 0.25  # opening that is read for shut eyes, relative to open eyes
HELD_OUT_EVERY = 6  # one out of this many files is held out from training
PICTURES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class TrainingPortrait:
    """A still picture, reduced to the size that crops need."""

    name: str
    image: np.ndarray  # uint8 RGB (height, width, 3)
    mesh: np.ndarray  # (468, 3), pixels of the image
    person: np.ndarray  # uint8 (height, width), person mask from 0 to 255


@dataclass(frozen=True)
class TrainingClip:
    """Frames of a talking face in one fixed crop, a little wider than the usual one."""

    name: str
    frames: np.ndarray  # uint8 (n, SIZE, SIZE, 3)
    meshes: np.ndarray  # float32 (n, 468, 3), pixels of the crop
    lids: np.ndarray  # float32 (n, 2), height over width of the right and the left eye


@dataclass(frozen=True)
class _Teachers:
    meshes: FaceMeshDetector
    lids: LidReader
    persons: PersonSegmenter


def is_held_out(name: str) -> bool:
    """Return whether a file is held out from training; depends on its name only, so added files change nothing."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % HELD_OUT_EVERY == 0


def alignment_matrix(
    mesh: np.ndarray, *, scale: float = 1.0, angle: float = 0.0, shift: np.ndarray | None = None
) -> np.ndarray:
    """Return the similarity from a picture to the crop around its face, (2, 3).

    Args:
        mesh: face mesh (468, 3), pixels of the picture.
        scale: scale of the face relative to the usual crop.
        angle: angle of the face from upright, radians.
        shift: shift of the face, pixels of the crop.
    """
    right, left = mesh[RIGHT_EYE, :2].mean(0), mesh[LEFT_EYE, :2].mean(0)
    across = left - right
    turn = angle - np.arctan2(across[1], across[0])
    size = scale * EYES_APART * SIZE / np.linalg.norm(across)
    linear = size * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    target = np.array(EYES_AT) * SIZE + (0 if shift is None else shift)
    return np.column_stack([linear, target - linear @ ((right + left) / 2)])


def transform_mesh(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Apply a (2, 3) similarity to points (n, 3); z is scaled too."""
    size = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    return np.column_stack([points[:, :2] @ matrix[:, :2].T + matrix[:, 2], points[:, 2] * size]).astype(np.float32)


def crop_image(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return the crop of a picture, (SIZE, SIZE, 3); black outside of the picture."""
    return cv2.warpAffine(image, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR)


def reduce_crop(crop: np.ndarray) -> Image:
    """Return a square picture, uint8, reduced to the size of the networks, (SIZE, SIZE, 3)."""
    return np.asarray(cv2.resize(crop, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.uint8)


class TrainingMedia:
    """Portraits and videos for training."""

    def __init__(self, media: Path, cache: Path) -> None:
        self._media, self._cache = media, cache
        self._teachers: _Teachers | None = None
        self._detector = load_people_detector()

    def portraits(self) -> list[TrainingPortrait]:
        """Return all pictures in which the detector and the teacher find a face."""
        portraits = []
        for path in sorted((self._media / "portraits").iterdir()):
            if path.suffix.lower() not in PICTURES:
                continue
            arrays = self._cached(path, self._portrait)
            if len(arrays["mesh"]):
                portraits.append(TrainingPortrait(path.name, **arrays))
        if not portraits:
            raise InputError("no_faces", f"{self._media}/portraits: no face found; expected portraits: add some")
        return portraits

    def clips(self) -> list[TrainingClip]:
        """Return all videos in which a face is found."""
        paths = sorted((self._media / "videos").glob("*.mp4"))
        clips = [TrainingClip(path.name, **self._cached(path, self._clip)) for path in paths]
        return [clip for clip in clips if len(clip.frames)]

    def mean_head(self) -> np.ndarray:
        """Return the mean head of the portraits that are not held out."""
        meshes = [p.mesh for p in self.portraits() if not is_held_out(p.name)]
        return mean_head([transform_mesh(mesh, alignment_matrix(mesh)) for mesh in meshes])

    def _cached(self, path: Path, compute: Callable[[Path], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        file = self._cache / f"{path.name}-{path.stat().st_size}-{compute.__name__.strip('_')}.npz"
        if not file.exists():
            self._cache.mkdir(parents=True, exist_ok=True)
            self._teachers = self._teachers or _Teachers(FaceMeshDetector(), LidReader(), PersonSegmenter())
            with atomic_file(file) as staged:
                np.savez(staged, **compute(path))  # type: ignore[arg-type]
        with np.load(file) as arrays:
            return dict(arrays)

    def _portrait(self, path: Path) -> dict[str, np.ndarray]:
        blank = np.zeros((0, 0, 3), np.uint8)
        no_face = {"image": blank, "mesh": np.zeros((0, 3), np.float32), "person": blank[..., 0]}
        try:
            image = read_image(path)
        except JoyvasaError:
            return no_face
        mesh = self._find_mesh(image)
        if mesh is None:
            return no_face

        size = 1.25 * float(np.linalg.norm(alignment_matrix(mesh)[:, 0]))
        if size < 0.75:
            image = cv2.resize(image, None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
            mesh = mesh * np.float32(size)
        return {"image": image, "mesh": mesh, "person": self._segment_person(image, mesh)}

    def _segment_person(self, image: np.ndarray, mesh: np.ndarray) -> np.ndarray:
        """Segment a little more than the crop, because crops are jittered."""
        assert self._teachers is not None
        matrix = _shrink_matrix(alignment_matrix(mesh), PERSON_SCALE)
        person = (self._teachers.persons.segment(crop_image(image, matrix)) * 255).astype(np.uint8)
        size = (image.shape[1], image.shape[0])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(person, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)

    def _clip(self, path: Path) -> dict[str, np.ndarray]:
        assert self._teachers is not None
        frames, meshes, lids = [], [], []
        for image, mesh, matrix in self._follow_face(path):
            lids.append(self._teachers.lids.read_openings(image, mesh))
            meshes.append(transform_mesh(mesh, matrix))
            size = 1.3 * float(np.linalg.norm(matrix[:, 0]))
            if size < 0.78:  # reduce large frames first: bilinear sampling alone would alias
                image = cv2.resize(image, None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
                matrix = np.column_stack([matrix[:, :2] / size, matrix[:, 2]])
            frames.append(crop_image(image, matrix))
            if len(frames) == MAX_VIDEO_FRAMES:
                break

        return {
            "frames": np.array(frames, np.uint8).reshape(-1, SIZE, SIZE, 3),
            "meshes": np.array(meshes, np.float32).reshape(-1, N_POINTS, 3),
            "lids": np.array(lids, np.float32).reshape(-1, 2),
        }

    def _follow_face(self, path: Path) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield frames with their meshes and with the crop matrix of the first frame."""
        assert self._teachers is not None
        last: np.ndarray | None = None
        matrix: np.ndarray | None = None
        for image in stream_frames(path, frames_per_second=VIDEO_RATE):
            if last is None:
                last = self._find_mesh(image)
            else:
                last = self._teachers.meshes.detect(image, bounding_box(last), n_passes=2)
            if last is None:
                continue
            if matrix is None:
                matrix = _shrink_matrix(alignment_matrix(last), VIDEO_SCALE)
            yield image, last, matrix

    def _find_mesh(self, image: np.ndarray) -> np.ndarray | None:
        assert self._teachers is not None
        faces = self._detector.detect(image)
        return self._teachers.meshes.detect(image, faces[0].box) if faces else None


def measure_eye_closure(clip: TrainingClip) -> np.ndarray:
    """Return the closure of the right and left eye in each frame, (n, 2); 0 is usual, 1 is shut."""
    opening = clip.lids / np.percentile(clip.lids, OPEN_PERCENTILE, axis=0)
    return np.clip((1 - opening) / (1 - SHUT_OPENING), -0.15, 1)


def _shrink_matrix(matrix: np.ndarray, scale: float) -> np.ndarray:
    """Scale a crop matrix about the center of the crop."""
    offset = SIZE / 2 * (1 - scale)
    return matrix * scale + np.array([[0, 0, offset], [0, 0, offset]])
