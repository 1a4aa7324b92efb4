"""Detect faces with MediaPipe's BlazeFace and face mesh, without a download or restricted license."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import nn

from joyvasa.faces.boxes import suppress_overlaps
from joyvasa.faces.detection import Face, sort_faces
from joyvasa.faces.face_candidates import Candidate, CandidateFinder
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

# If no face was found, the mesh is fitted to the best candidates again, from several starts: shift to the right, shift
# down, and side, in sides of the candidate; roll in radians.
N_RETRIED = 3  # candidates
STARTS = (
    *((0.0, 0.0, side, 0.0) for side in (0.8, 1.0, 1.25)),
    *((x, 0.0, 1.0, 0.0) for x in (-0.12, 0.12)),
    *((0.0, y, 1.0, 0.0) for y in (-0.12, 0.12)),
    *((0.0, 0.0, 1.0, roll) for roll in (-0.35, 0.35)),
)
RETRIED_PRESENCE = 7.0  # logit that the best of these meshes needs
# Largest mean distance of eyes, nose and mouth of this mesh from those of BlazeFace, and largest median distance of these
# landmarks between the meshes, in sides of the candidate. Heads turned by 60 degrees have 0.03 to 0.12 and 0.005 to 0.03,
# other things up to 1.1 and 0.4.
MAX_DISAGREEMENT, MAX_SPREAD = 0.13, 0.03


class BlazeFaceDetector:
    """Detect faces at any angle: BlazeFace proposes them, the face mesh confirms them and locates all points.

    Faces are detected from about 40 pixels in pictures of 1280, and from profile to profile up to about 60 degrees.
    Threads may share a detector.

    Args:
        short_range: network `blazeface_short_range`, on `device`.
        full_range: network `blazeface_full_range`.
        mesh: network `face_mesh`.
        device: device to compute on.
    """

    def __init__(self, short_range: nn.Module, full_range: nn.Module, mesh: nn.Module, *, device: torch.device) -> None:
        self._finder = CandidateFinder(short_range, full_range, device=device)
        self._fitter = MeshFitter(mesh, device=device)

    @classmethod
    def create(cls, source: DetectorSource) -> BlazeFaceDetector:
        """Create the detector from its networks, which are part of the program."""
        names = ("blazeface_short_range", "blazeface_full_range", "face_mesh")
        return cls(*(source.network(name) for name in names), device=source.device)

    def detect(self, image: Image) -> list[Face]:
        """Detect faces.

        Args:
            image: uint8 RGB (height, width, 3).

        Returns:
            Faces, largest first, with five landmarks, outline and opening of the lips; the score is the logit of the
            mesh network.
        """
        return self.detect_batch([image])[0]

    def detect_batch(self, images: Sequence[Image]) -> list[list[Face]]:
        """Detect faces in several pictures at once.

        Args:
            images: uint8 RGB (height, width, 3), of any sizes.

        Returns:
            Faces per picture, as for `detect`.
        """
        faces = []
        for start in range(0, len(images), BATCH_PICTURES):
            faces += self._detect(images[start : start + BATCH_PICTURES])
        return faces

    def _detect(self, images: Sequence[Image]) -> list[list[Face]]:
        faces = self._confirm(images, self._finder.find(images))
        missed = [index for index, found in enumerate(faces) if not found]
        if missed:
            pictures = [images[index] for index in missed]
            turned = self._confirm(pictures, self._finder.find(pictures, turns=(1, 2, 3)))
            for index, found in zip(missed, turned, strict=True):
                faces[index] = found
        return faces

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
        present.sort(key=lambda fit: -fit.presence)
        if not present:
            return []
        boxes = np.stack([fit.box for fit in present])
        selected = suppress_overlaps(boxes, overlap=OVERLAP)
        return sort_faces([build_face(present[index]) for index in selected])
