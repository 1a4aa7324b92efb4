"""Keypoints that make a portrait do one thing, without any sound."""

from __future__ import annotations

import torch
from torch import Tensor

from joyvasa.errors import ModelError
from joyvasa.models import Models
from joyvasa.motion.keypoints import pose_keypoints
from joyvasa.sample.measurement.subjects import Subject
from joyvasa.sample.networks.motion_extractor import CompactMotionExtractor
from joyvasa.sample.networks.points import LEFT_LIDS, RIGHT_LIDS

WIDEST = 0.32  # opening of a loud open vowel, distances between the eyes


class Poses:
    """Drives portraits of a compact bundle.

    Args:
        models: of the bundle.

    Raises:
        ModelError: `bundle_unsuitable`.
    """

    def __init__(self, models: Models) -> None:
        self._renderer = models.renderer
        extractor = models.network("motion_extractor")
        if not isinstance(extractor, CompactMotionExtractor):
            found = f"bundle {models.bundle.name}: its motion extractor is {type(extractor).__name__}"
            raise ModelError(
                "bundle_unsuitable", f"{found}; expected one of the compact family: measure another bundle"
            )
        self._opening = extractor.head.opening

    def render(self, subject: Subject, *, mouth: float = 0.0, blink: float = 0.0) -> Tensor:
        """The driven face, uint8 (SIZE, SIZE, 3).

        Args:
            subject: that is driven.
            mouth: opening, distances between the eyes; 0 closes it whatever it does in the picture.
            blink: 1 shuts the eyes.
        """
        info = subject.portrait.keypoints
        expression = torch.zeros_like(info.canonical)
        expression += mouth * self._opening
        for upper, lower in (RIGHT_LIDS, LEFT_LIDS):
            expression[:, upper] += blink * (info.canonical[:, lower] - info.canonical[:, upper])
        keypoints = pose_keypoints(
            info.canonical, info.rotation, expression @ info.rotation, info.scale, info.translation
        )
        return self._renderer.render(subject.portrait.feature, subject.keypoints, keypoints)[0].cpu()
