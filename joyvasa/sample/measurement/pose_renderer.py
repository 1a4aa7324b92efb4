"""Rendering of portraits with a given opening of mouth and eyes, without sound."""

from __future__ import annotations

import torch
from torch import Tensor

from joyvasa.errors import ModelError
from joyvasa.models import Models
from joyvasa.motion.keypoints import pose_keypoints
from joyvasa.sample.measurement.subjects import Subject
from joyvasa.sample.networks.motion_extractor import CompactMotionExtractor
from joyvasa.sample.networks.points import LEFT_LIDS, RIGHT_LIDS

MAX_OPENING = 0.32  # opening of the mouth in a loud open vowel, in eye distances


class PoseRenderer:
    """Renders portraits with a bundle of the compact family.

    Raises:
        ModelError: `bundle_unsuitable`.
    """

    def __init__(self, models: Models) -> None:
        self._renderer = models.renderer
        extractor = models.network("motion_extractor")
        if not isinstance(extractor, CompactMotionExtractor):
            kind = f"bundle {models.bundle.name}: its motion extractor is {type(extractor).__name__}"
            raise ModelError("bundle_unsuitable", f"{kind}; expected one of the compact family: measure another bundle")
        self._opening = extractor.head.opening

    def render(self, subject: Subject, *, mouth: float = 0.0, blink: float = 0.0) -> Tensor:
        """Return the driven face, uint8 (SIZE, SIZE, 3).

        Args:
            subject: portrait to drive.
            mouth: opening of the mouth in eye distances; 0 closes a mouth that is open in the picture.
            blink: closure of the eyes, 0 to 1.
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
