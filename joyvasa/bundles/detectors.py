"""Face detectors with the weights of a bundle."""

from __future__ import annotations

from typing import cast

import torch

from joyvasa.bundles.registry import open_bundle
from joyvasa.faces.blazeface import BlazeFaceDetector
from joyvasa.faces.detection import FaceDetector
from joyvasa.faces.registry import DETECTORS, DetectorSource, build_detector
from joyvasa.mode import Mode
from joyvasa.rendering.portrait import FaceConfig


def load_builtin_detector(name: str, mode: Mode, device: torch.device) -> FaceDetector:
    """Load a face detector whose weights are part of the program.

    Raises:
        ConfigError: `face_detector` if the detector does not support the mode.
        ModelError: a file of the bundle is damaged.
    """
    bundle = open_bundle(str(DETECTORS[name].bundle))
    source = DetectorSource(
        device=device,
        threshold=FaceConfig.threshold,
        file=bundle.find_file,
        network=lambda role: bundle.load_network(role, device),
    )
    return build_detector(name, mode, source)


def load_people_detector(device: torch.device | None = None) -> BlazeFaceDetector:
    """Load BlazeFace, the detector for people that is part of the program; on the CPU by default."""
    return cast(BlazeFaceDetector, load_builtin_detector("blazeface", "human", device or torch.device("cpu")))
