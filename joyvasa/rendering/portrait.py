"""Portraits: detection and cropping of the face, and extraction of appearance and keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from joyvasa.errors import ConfigError, InputError, InputWarning, ModelError
from joyvasa.faces.detection import MIN_FACE_SIDE, Face, FaceOrder, choose_face
from joyvasa.faces.geometry import CropConfig, FaceCrop
from joyvasa.media.image import MIN_SIDE, read_image, resize_to_limit
from joyvasa.mode import Mode
from joyvasa.motion.keypoints import KeypointInfo
from joyvasa.networks.pictures import to_network_input
from joyvasa.runtime.device import Precision, autocast

OUTSIDE_WARNING = 0.1  # share of the crop outside the picture above which a warning is issued


@dataclass(frozen=True)
class PictureConfig:
    """Options of picture scaling; the defaults are those of the reference."""

    max_side: int = 1280  # longest side in pixels; larger pictures are scaled down
    division: int = 2  # sides are cropped to a multiple of this; video needs even sides

    def __post_init__(self) -> None:
        if self.max_side < MIN_SIDE:
            raise ConfigError("config_invalid", f"picture.max_side is {self.max_side}; expected at least {MIN_SIDE}")
        if self.division < 2 or self.division % 2:
            raise ConfigError("config_invalid", f"picture.division is {self.division}; expected an even number")

    def limit_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height of the frames of a video, scaled and cropped as pictures are."""
        scale = min(1.0, self.max_side / max(width, height))
        width, height = (max(self.division, int(side * scale)) for side in (width, height))
        return width - width % self.division, height - height % self.division


@dataclass(frozen=True)
class FaceConfig:
    """Options of face selection."""

    # `bundle`: the detector that the model bundle names; else `blazeface` or `insightface` (people), `xpose` or
    # `compact` (animals), or `none` for a picture that is a face crop already. In a run, rows of the other mode use
    # that of the bundle
    detector: str = "bundle"
    threshold: float = 0.15  # lowest score of a face for `insightface`, 0 to 1
    select: FaceOrder = "large-small"  # order of the faces, of which `index` selects one
    index: int = 0  # position of the selected face in this order; 0 is the first
    min_side: int = MIN_FACE_SIDE  # smaller faces are ignored, pixels

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ConfigError("config_invalid", f"face.threshold is {self.threshold}; expected 0 to 1")
        for name in ("index", "min_side"):
            if (value := getattr(self, name)) < 0:
                raise ConfigError("config_invalid", f"face.{name} is {value}; expected at least 0")


@dataclass(frozen=True)
class Picture:
    """A picture with its face crop, before any network except the detector."""

    image: np.ndarray  # picture, uint8 RGB (height, width, 3), scaled to the configured limit
    crop: FaceCrop | None  # face crop; None if the whole picture is the crop
    lip_ratio: float | None = None  # height / width of the mouth opening; None if the detector does not measure it
    # height / width of the left and the right eye; None if the detector does not measure it
    eye_ratios: tuple[float, float] | None = None
    n_faces: int | None = None  # number of detected faces of any size; None without detection
    warnings: tuple[InputWarning, ...] = ()  # warnings for the user


@dataclass(frozen=True)
class Portrait:
    """Encoded picture, the input of driving and rendering."""

    picture: Picture  # encoded picture
    feature: Tensor  # appearance volume, shape (1, channels, depth, height, width)
    keypoints: KeypointInfo  # keypoints of the portrait


def read_portrait_image(path: str | Path, config: PictureConfig) -> np.ndarray:
    """Read a picture and scale it to the configured limit.

    Raises:
        InputError: raised by `read_image`.
    """
    return resize_to_limit(read_image(path), max_side=config.max_side, division=config.division)


def crop_portrait(
    image: np.ndarray,
    faces: Sequence[Face],
    face: FaceConfig,
    crop: CropConfig,
    *,
    name: str,
    mode: Mode = "human",
    is_mismatch: bool = False,
) -> Picture:
    """Crop the selected face of a picture; `is_mismatch` states that it seems to show the subject of the other mode.

    Raises:
        InputError: raised by the face selection.
    """
    mismatch = _mismatch(mode) if is_mismatch else None
    if mismatch and not faces:
        raise InputError("face_not_found", f"{name}: no face found; {mismatch}")
    choice = choose_face(faces, order=face.select, index=face.index, min_side=face.min_side, name=name)
    cut = choice.face.crop(image, crop)

    warnings = [InputWarning("mode_mismatch_suspected", f"{name}: {mismatch}")] if mismatch else []
    if choice.count > 1:
        selected = f"number {face.index} in order {face.select} is animated"
        sentence = f"{name}: {choice.count} faces found; {selected}; choose another with face.index or face.select"
        warnings.append(InputWarning("several_faces", sentence))
    if cut.outside_fraction > OUTSIDE_WARNING:
        share = f"{cut.outside_fraction:.0%}"
        sentence = f"{name}: {share} of the crop lies outside the picture and is black; use a wider picture"
        warnings.append(InputWarning("crop_outside", sentence))
    found = choice.face
    return Picture(image, cut, found.lip_ratio, found.eye_ratios, len(faces), tuple(warnings))


def _mismatch(mode: Mode) -> str:
    shown, other = ("an animal", "animal") if mode == "human" else ("a person", "human")
    return f"the picture seems to show {shown} and mode is {mode}; if so, use mode={other}"


@dataclass(frozen=True, eq=False)
class PortraitEncoder:
    """Extracts appearance and keypoints of pictures in batches."""

    appearance: nn.Module  # network `appearance_feature_extractor`
    motion: nn.Module  # network `motion_extractor`
    input_size: int  # input size of both networks, pixels
    device: torch.device  # device of both networks
    precision: Precision = "fp32"  # precision of the computation

    @torch.inference_mode()
    def encode(self, pictures: Sequence[Picture]) -> list[Portrait]:
        """Encode pictures, in order.

        Raises:
            ModelError: `portrait_not_finite`.
        """
        batch = torch.cat([self._network_input(picture) for picture in pictures]).to(self.device)
        with autocast(self.device, self.precision):
            features = self.appearance(batch).float()
            info = KeypointInfo.from_heads(self.motion(batch))
        if not features.isfinite().all():
            raise ModelError(
                "portrait_not_finite",
                f"appearance features in {self.precision}: found NaN or infinity; expected finite numbers: "
                "use --precision fp32 or bf16",
            )
        return [Portrait(picture, features[i : i + 1], info[i : i + 1]) for i, picture in enumerate(pictures)]

    def _network_input(self, picture: Picture) -> Tensor:
        if picture.crop is None:
            return to_network_input(picture.image, self.input_size, cropped=False)
        return to_network_input(picture.crop.image, self.input_size)
