"""Detect faces with MediaPipe's BlazeFace and face mesh, without a download or restricted license."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from joyvasa.faces.animals import CERTAIN_ANIMAL, AnimalDetector
from joyvasa.faces.boxes import suppress_overlaps
from joyvasa.faces.detection import Face, sort_faces
from joyvasa.faces.face_candidates import Candidate, CandidateFinder, FloatArray
from joyvasa.faces.face_mesh import MeshFit, MeshFitter, MeshTask, build_face, read_five_landmarks
from joyvasa.faces.registry import DetectorSource
from joyvasa.media.image import Image

BATCH_PICTURES = 16  # pictures searched at once; bounds the memory
# Lowest logit of the mesh network for a face. Photographs of people have 25 to 60, drawings and statues 10 to 35,
# animals at most 8.
MIN_PRESENCE = 9.0
# Probability by BlazeFace from which a lower logit suffices, and that logit. Animals have a probability of at most 0.8.
LIKELY_SCORE, LIKELY_PRESENCE = 0.85, 4.0
CERTAIN_PRESENCE = 25.0  # logit above which a mesh is not compared with an upside-down one
OVERLAP = 0.3  # largest intersection over union of two faces
MAGNIFICATION = 2.0  # factor of the size at which pictures still without a face are searched once more

# If no face was found, BlazeFace searches around its best candidates again, and the mesh is fitted to them from several
# starts: shift to the right, shift down, and side, in sides of the candidate; roll in radians.
N_RETRIED, RETRIED_SIDE = 3, 40.0  # candidates, and their smallest side, pixels
STARTS = (
    *((0.0, 0.0, side, 0.0) for side in (0.8, 1.0, 1.25)),
    *((x, 0.0, 1.0, 0.0) for x in (-0.12, 0.12)),
    *((0.0, y, 1.0, 0.0) for y in (-0.12, 0.12)),
    *((0.0, 0.0, 1.0, roll) for roll in (-0.35, 0.35)),
)
# Lowest mean probability of BlazeFace around the candidate, largest spread of its landmarks there, and largest mean
# distance of eyes, nose and mouth of the mesh from them, in sides of the candidate. Heads turned by 60 degrees have
# 0.3 to 0.8, 0.03 to 0.12 and 0.03 to 0.4; of 200 other things, one had 0.68 and 0.061, others less or more.
AGAIN_SCORE, AGAIN_SPREAD, MAX_DISAGREEMENT = 0.62, 0.06, 0.13


class BlazeFaceDetector:
    """Detect faces at any angle: BlazeFace proposes them, the face mesh confirms them and locates all points.

    Faces are detected from about 40 pixels in pictures of 1280, turned aside by up to about 45 degrees, most to 60.
    Threads may share a detector.

    Args:
        short_range: network `blazeface_short_range`, on `device`.
        full_range: network `blazeface_full_range`.
        mesh: network `face_mesh`.
        animals: detector for animals; uncertain faces in pictures of animals are not faces of people.
        device: device to compute on.
    """

    def __init__(
        self,
        short_range: nn.Module,
        full_range: nn.Module,
        mesh: nn.Module,
        animals: AnimalDetector,
        *,
        device: torch.device,
    ) -> None:
        self.animals = animals
        self._finder = CandidateFinder(short_range, full_range, device=device)
        self._fitter = MeshFitter(mesh, device=device)

    @classmethod
    def create(cls, source: DetectorSource) -> BlazeFaceDetector:
        """Create the detector from its networks, which are part of the program.

        Raises:
            ModelError: `models_missing`.
        """
        return cls(
            source.network("blazeface_short_range"),
            source.network("blazeface_full_range"),
            source.network("face_mesh"),
            AnimalDetector.create(source),
            device=source.device,
        )

    def detect(self, image: Image) -> list[Face]:
        """Return the faces, largest first, with five landmarks, outline and opening of the lips.

        The score is the logit of the mesh network.
        """
        return self.detect_batch([image])[0]

    def detect_batch(self, images: Sequence[Image]) -> list[list[Face]]:
        """Detect faces in several pictures, of any sizes, at once; return those of each picture as `detect` does."""
        faces = []
        for start in range(0, len(images), BATCH_PICTURES):
            faces += self._detect(images[start : start + BATCH_PICTURES])
        return faces

    def _detect(self, images: Sequence[Image]) -> list[list[Face]]:
        """Detect faces; each further search is of the pictures in which the previous ones found none."""
        faces: dict[int, list[Face]] = {}

        def search(indices: Collection[int], **options: Any) -> dict[int, list[Candidate]]:
            """Search some pictures and return the candidates of those still without a face."""
            pictures = [images[index] for index in indices]
            found = self._finder.find(pictures, **options)
            faces.update(zip(indices, self._confirm(pictures, found), strict=True))
            return {index: items for index, items in zip(indices, found, strict=True) if not faces[index]}

        upright = search(range(len(images)))
        turned = search(upright, turns=(1, 2, 3))
        # The mesh fits a few faces of animals as well as it fits a head that is turned far aside.
        uncertain = [index for index in turned if self.animals.score_best(images[index]) < CERTAIN_ANIMAL]
        for index, closer in search(uncertain, magnification=MAGNIFICATION).items():
            faces[index] = self._retry(images[index], upright[index] + closer)
        return [faces[index] for index in range(len(images))]

    def _retry(self, image: Image, candidates: Sequence[Candidate]) -> list[Face]:
        """Return the faces among the best candidates that BlazeFace also finds in squares around them.

        The logit of the mesh is low for heads that are turned far aside, but BlazeFace finds a face in all squares
        around them, and a mesh has its landmarks where BlazeFace has them.
        """
        large = [item for item in candidates if item.side >= RETRIED_SIDE]
        best_first = sorted(large, key=lambda item: -item.score)
        boxes = np.array([item.box for item in best_first]).reshape(-1, 4)
        confirmed = []
        for index in suppress_overlaps(boxes, overlap=OVERLAP)[:N_RETRIED]:
            item = best_first[index]
            again = self._finder.find_again(image, item)
            if again is None or again.score < AGAIN_SCORE or again.spread > AGAIN_SPREAD:
                continue
            tasks = [
                MeshTask(image, item.center + np.array([x, y]) * item.side, side * item.side, item.angle + roll)
                for x, y, side, roll in STARTS
            ]
            limit = MAX_DISAGREEMENT * item.side
            near = [fit for fit in self._fitter.fit(tasks) if _disagreement(fit, again.landmarks) <= limit]
            if near:
                confirmed.append(max(near, key=lambda fit: fit.presence))
        return _build_faces(confirmed)

    def _confirm(self, images: Sequence[Image], candidates: Sequence[Sequence[Candidate]]) -> list[list[Face]]:
        """Fit the mesh to all candidates at once, and select those that show a face."""
        tasks = [
            MeshTask(image, item.center, item.side, item.angle)
            for image, items in zip(images, candidates, strict=True)
            for item in items
        ]
        fits = iter(self._fit(tasks))
        return [self._select([(item, next(fits)) for item in items]) for items in candidates]

    def _fit(self, tasks: Sequence[MeshTask]) -> list[MeshFit]:
        """Fit the mesh; it sometimes fits upside down with a low score, so uncertain ones are tried the other way."""
        fits = self._fitter.fit(tasks)
        uncertain = [index for index, fit in enumerate(fits) if fit.presence < CERTAIN_PRESENCE]
        turned = [MeshTask(tasks[i].image, tasks[i].center, tasks[i].side, tasks[i].angle + np.pi) for i in uncertain]
        for index, fit in zip(uncertain, self._fitter.fit(turned), strict=True):
            if fit.presence > fits[index].presence:
                fits[index] = fit
        return fits

    def _select(self, pairs: Sequence[tuple[Candidate, MeshFit]]) -> list[Face]:
        present = [
            fit
            for candidate, fit in pairs
            if fit.presence >= (LIKELY_PRESENCE if candidate.score >= LIKELY_SCORE else MIN_PRESENCE)
        ]
        return _build_faces(present)


def _disagreement(fit: MeshFit, landmarks: FloatArray) -> float:
    """Return the mean distance of eyes, nose and mouth of a mesh from those of BlazeFace (4, 2), pixels."""
    points = read_five_landmarks(fit)
    points = np.concatenate([points[:3], points[3:].mean(axis=0, keepdims=True)])
    return float(np.linalg.norm(points - landmarks, axis=-1).mean())


def _build_faces(fits: Sequence[MeshFit]) -> list[Face]:
    """Return faces, largest first, of the meshes that do not overlap with one of a higher logit."""
    if not fits:
        return []
    present = sorted(fits, key=lambda fit: -fit.presence)
    selected = suppress_overlaps(np.stack([fit.box for fit in present]), overlap=OVERLAP)
    return sort_faces([build_face(present[index]) for index in selected])
