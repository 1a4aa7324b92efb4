"""Stage `portrait`: find and crop the face of a picture, extract its appearance volume and keypoints."""

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
from joyvasa.rendering.source_video import SourceVideo, is_source_video
from stages.arrays import to_array, to_tensor
from stages.base import Item, Ok, Outcome, Resources, Stage
from stages.config import StageConfig
from stages.isolation import map_batch, map_each
from stages.media import local_file
from stages.warnings import WARNING_COLUMNS, warning_facts


@dataclass(frozen=True)
class PortraitPayload:
    """A portrait, as input of the render stage.

    Attributes:
        picture: uint8 RGB image with the face crop, its matrices and the lip ratio.
        feature: appearance volume, shape (1, channels, depth, height, width); float16 if networks run in reduced
            precision, otherwise float32.
        keypoints: fields of `KeypointInfo` for one portrait, float32.
        source: the video whose first frame with a face is the portrait; None for a picture. The path of its frames is
            valid only in the worker that read it.
    """

    picture: Picture
    feature: np.ndarray
    keypoints: Mapping[str, np.ndarray]
    source: SourceVideo | None = None

    @classmethod
    def from_portrait(cls, portrait: Portrait, *, half: bool, source: SourceVideo | None = None) -> PortraitPayload:
        """Convert a portrait; `half` stores its feature volume as float16."""
        feature = portrait.feature.half() if half else portrait.feature
        names = [entry.name for entry in fields(KeypointInfo)]
        keypoints = {name: to_array(getattr(portrait.keypoints, name)) for name in names}
        return cls(portrait.picture, to_array(feature), keypoints, source)

    def to_portrait(self, device: torch.device) -> Portrait:
        """Return the portrait with its tensors on a device."""
        info = KeypointInfo(**{name: to_tensor(array, device) for name, array in self.keypoints.items()})
        return Portrait(self.picture, to_tensor(self.feature, device).float(), info)

    @property
    def n_bytes(self) -> int:
        """Size of the arrays in bytes."""
        crop = self.picture.crop
        arrays = [self.picture.image, self.feature, *self.keypoints.values()]
        arrays += [self.source.face.centers, self.source.face.sides, self.source.face.visible] if self.source else []
        return sum(array.nbytes for array in arrays) + (crop.image.nbytes if crop else 0)


@dataclass(frozen=True)
class _Input:
    """A picture, or the first frame of a source video that shows the face."""

    picture: Picture
    source: SourceVideo | None = None


class PortraitStage(Stage):
    """Extract the portrait in `image` of a row; in a video, follow the face.

    Payload: `PortraitPayload`. Facts: `width`, `height`, `n_faces`, `warnings`, `warning_codes`, `bytes`. The result
    depends on the content of the picture and on the options of the row for this stage, so it can be shared.

    The stage accepts rows of one mode, that of its configuration; another instance processes the other mode.

    Args:
        config: configuration of the stage.
    """

    name = "portrait"
    resources = Resources(gpu=1 / 8, workers="per_gpu")
    unit = "portrait"
    columns: ClassVar = {"n_faces": int, **WARNING_COLUMNS}

    def __init__(self, config: StageConfig) -> None:
        self.config = config

    def setup(self) -> None:
        """Load the face detector and the networks of the portrait."""
        self._models = Models(self.config.animation)
        _ = self._models.detector, self._models.encoder

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Find faces one picture at a time, then encode all portraits at once; one at a time in `strict` mode."""
        inputs = map_each(batch, self._read)
        if self.config.strict:
            portraits = map_each(inputs, lambda entry: self._encode([entry])[0])
        else:
            portraits = map_batch(inputs, self._encode)
        return map_each(portraits, self._pack)

    def _encode(self, inputs: Sequence[_Input]) -> list[tuple[Portrait, SourceVideo | None]]:
        portraits = self._models.encoder.encode([entry.picture for entry in inputs])
        return [(portrait, entry.source) for portrait, entry in zip(portraits, inputs, strict=True)]

    def _read(self, item: Item) -> _Input:
        mode, expected = item.record.mode, self.config.animation.mode
        if mode != expected:
            raise ConfigError(
                "mode_misrouted", f"mode is {mode!r}; expected {expected}, which this stage was built for"
            )
        with local_file(item.record.require("image"), self.media_cache) as path:
            options = self.config.for_record(item.record)
            if not is_source_video(path):
                return _Input(self._models.read_picture(path, options))
            source = self._models.read_source_video(path, options)
            return _Input(self._models.first_picture(source, options), source)

    def _pack(self, encoded: tuple[Portrait, SourceVideo | None]) -> Ok:
        portrait, source = encoded
        half = self.config.animation.precision != "fp32"
        payload = PortraitPayload.from_portrait(portrait, half=half, source=source)
        picture = portrait.picture
        height, width = picture.image.shape[:2]
        facts = {
            "width": width,
            "height": height,
            "n_faces": picture.n_faces,
            **warning_facts((*picture.warnings, *(source.warnings if source else ()))),
            "bytes": payload.n_bytes,
        }
        return Ok(payload, facts)
