"""Pictures become portraits: the face found and cropped, its appearance and keypoints extracted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
import torch

from joyvasa.errors import ConfigError
from joyvasa.models import Models
from joyvasa.motion.keypoints import KeypointInfo
from joyvasa.rendering.portrait import Picture, Portrait
from stages.arrays import to_array, to_tensor
from stages.base import Item, Ok, Outcome, Resources, Stage
from stages.config import StageConfig
from stages.isolation import map_batch, map_each
from stages.media import local_file


@dataclass(frozen=True)
class PortraitPayload:
    """What rendering needs of a portrait.

    Attributes:
        picture: uint8 RGB, with the crop, its matrices and the lip ratio.
        feature: appearance volume, shape (1, channels, depth, height, width); float16 where networks compute in a
            reduced precision, else float32.
        keypoints: fields of `KeypointInfo` of one portrait, float32.
    """

    picture: Picture
    feature: np.ndarray
    keypoints: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, portrait: Portrait, *, half: bool) -> PortraitPayload:
        """Packs a portrait; its feature as float16 if `half`."""
        feature = portrait.feature.half() if half else portrait.feature
        names = [entry.name for entry in fields(KeypointInfo)]
        keypoints = {name: to_array(getattr(portrait.keypoints, name)) for name in names}
        return cls(portrait.picture, to_array(feature), keypoints)

    def portrait(self, device: torch.device) -> Portrait:
        """The portrait, its tensors on a device."""
        info = KeypointInfo(**{name: to_tensor(array, device) for name, array in self.keypoints.items()})
        return Portrait(self.picture, to_tensor(self.feature, device).float(), info)

    @property
    def n_bytes(self) -> int:
        """Memory of the arrays."""
        crop = self.picture.crop
        arrays = [self.picture.image, self.feature, *self.keypoints.values()]
        return sum(array.nbytes for array in arrays) + (crop.image.nbytes if crop else 0)


class PortraitStage(Stage):
    """Row `image` -> `PortraitPayload`; facts `width`, `height`, `n_faces`, `warnings`, `warning_codes`, `bytes`.

    Serves the mode of its configuration: rows of the other mode are for another stage.
    May be shared: all depends on the content of the picture.

    Args:
        config: see `StageConfig`.
    """

    name = "portrait"
    resources = Resources(gpu=1 / 8, workers="per_gpu")
    unit = "portrait"
    columns: ClassVar = {"n_faces": int, "warnings": str, "warning_codes": str}

    def __init__(self, config: StageConfig) -> None:
        self.config = config

    def setup(self) -> None:
        """Loads the detector and the networks of the portrait."""
        self._models = Models(self.config.animation)
        _ = self._models.detector, self._models.encoder

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Finds faces one by one and extracts all of them at once; in `strict` mode one by one too."""
        pictures = map_each(batch, self._read)
        encode = self._models.encoder.encode
        portraits = map_each(pictures, lambda one: encode([one])[0]) if self.config.strict else map_batch(pictures, encode)
        return map_each(portraits, self._pack)

    def _read(self, item: Item) -> Picture:
        found, served = item.record.mode, self.config.animation.mode
        if found != served:
            raise ConfigError("mode_misrouted", f"mode is {found!r}; expected {served}, which this stage was built for")
        with local_file(item.record.require("image")) as path:
            return self._models.read_picture(path)

    def _pack(self, portrait: Portrait) -> Ok:
        payload = PortraitPayload.of(portrait, half=self.config.animation.precision != "fp32")
        picture = portrait.picture
        height, width = picture.image.shape[:2]
        facts = {
            "width": width,
            "height": height,
            "n_faces": picture.n_faces,
            "warnings": "; ".join(warning.sentence for warning in picture.warnings) or None,
            "warning_codes": ",".join(warning.code for warning in picture.warnings) or None,
            "bytes": payload.n_bytes,
        }
        return Ok(payload, facts)
