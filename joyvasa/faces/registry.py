"""Registry of face detectors: names, modes, model files, licenses and constructors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from joyvasa.errors import ConfigError
from joyvasa.mode import Mode

if TYPE_CHECKING:
    import torch
    from torch import nn

    from joyvasa.faces.detection import FaceDetector

Opening = Literal["lips", "eyes"]


@dataclass(frozen=True, kw_only=True)
class DetectorSource:
    """Options and model files from which detectors are created."""

    device: torch.device  # device of the detector's networks
    threshold: float  # lowest score of a face, 0 to 1; detectors without scores ignore it
    file: Callable[[str], Path]  # function that returns the path of the file of a role
    # function that returns the loaded network of a role, on the device, in eval mode
    network: Callable[[str], nn.Module]


@dataclass(frozen=True, kw_only=True)
class DetectorSpec:
    """Registry entry of a face detector."""

    # `module:Class` by mode. The module is imported when the detector is built; the class implements `FaceDetector` and
    # has a class method `create(source: DetectorSource)`.
    constructors: Mapping[Mode, str]
    roles: tuple[str, ...] = ()  # roles of the model bundle that the detector needs
    # name of a bundle that is part of the program and has all weights of the detector; None if they are roles of the
    # model bundle, or if there are none
    bundle: str | None = None
    # openings that its faces have: `lips` for `Face.lip_ratio`, `eyes` for `Face.eye_ratios`
    measures: tuple[Opening, ...] = ()
    license: str  # name of the license of its weights, as in bundles


# To add a detector, write its file and add one entry; see README.md.
DETECTORS: dict[str, DetectorSpec] = {
    "insightface": DetectorSpec(
        constructors={"human": "joyvasa.faces.insightface:InsightFaceDetector"},
        roles=("face_detector", "landmarks106", "landmarks203"),
        measures=("lips", "eyes"),
        license="InsightFace non-commercial research",
    ),
    "blazeface": DetectorSpec(
        constructors={"human": "joyvasa.faces.blazeface:BlazeFaceDetector"},
        bundle="faces",
        measures=("lips",),
        license="Apache-2.0",
    ),
    "xpose": DetectorSpec(
        constructors={"animal": "joyvasa.faces.xpose:XposeDetector"},
        roles=("animal_landmarks",),
        license="IDEA non-commercial research",
    ),
    "compact": DetectorSpec(
        constructors={"animal": "joyvasa.faces.animals:AnimalDetector"}, license="MIT and Apache-2.0"
    ),
}


def list_detectors(mode: Mode) -> tuple[str, ...]:
    """Return the names of the detectors that support a mode."""
    return tuple(name for name, spec in DETECTORS.items() if mode in spec.constructors)


def check_detector(name: str, mode: Mode | None = None) -> None:
    """Check the option `face.detector`: `bundle`, `none`, or a detector; if a mode is given, one that supports it.

    Raises:
        ConfigError: `config_invalid`.
    """
    choices = ("bundle", *(list_detectors(mode) if mode else DETECTORS), "none")
    if name not in choices:
        where, reason = (f" in mode {mode}", f": {name} is for the other mode") if mode else ("", "")
        expected = f"expected one of {', '.join(choices)}{reason}"
        raise ConfigError("config_invalid", f"face.detector is {name}{where}; {expected}")


def list_detector_roles(name: str) -> tuple[str, ...]:
    """Return the roles of the model bundle that a detector needs; nothing for `none`."""
    return DETECTORS[name].roles if name in DETECTORS else ()


def measures(name: str, opening: Opening) -> bool:
    """Return whether the faces of a detector have an opening; false for `none`."""
    return name in DETECTORS and opening in DETECTORS[name].measures


def build_detector(name: str, mode: Mode, source: DetectorSource) -> FaceDetector:
    """Create a detector by name.

    Raises:
        ConfigError: `face_detector` if no detector of this name supports the mode.
        ModelError: a model file is missing or does not fit.
        EnvironmentFault: a library that the detector needs is not installed.
    """
    if name not in list_detectors(mode):
        expected = ", ".join(list_detectors(mode))
        raise ConfigError("face_detector", f"face detector is {name!r} in mode {mode}; expected one of {expected}")
    module, _, kind = DETECTORS[name].constructors[mode].partition(":")
    return getattr(import_module(module), kind).create(source)
