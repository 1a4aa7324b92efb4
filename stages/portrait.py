"""Stage `portrait`: find and crop the face of a picture, extract its appearance volume and keypoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, TypeVar

import numpy as np
import torch

from joyvasa.errors import ConfigError
from joyvasa.faces.detection import Face
from joyvasa.faces.video import Progress, estimate_fraction
from joyvasa.media.image import perceptual_hash
from joyvasa.models import Models
from joyvasa.motion.keypoints import KeypointInfo
from joyvasa.options import AnimationConfig
from joyvasa.rendering.portrait import Picture, Portrait, read_portrait_image
from joyvasa.rendering.source_video import SourceVideo, is_source_video
from stages.arrays import to_array, to_tensor
from stages.base import WARNING_COLUMNS, Failed, Item, Ok, Outcome, Resources, Stage, warning_facts
from stages.config import StageConfig
from stages.failures import map_batch, map_each
from stages.media import local_file

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class PortraitPayload:
    """A portrait, as input of the render stage."""

    picture: Picture  # uint8 RGB image with the face crop, its matrices and the lip ratio
    # appearance volume, shape (1, channels, depth, height, width); float16 if networks run in reduced precision,
    # otherwise float32
    feature: np.ndarray
    keypoints: Mapping[str, np.ndarray]  # fields of `KeypointInfo` for one portrait, float32
    # the video whose first frame with a face is the portrait; None for a picture. The path of its frames is valid only
    # in the worker that read it
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
    """A picture, or the cropped first frame of a source video that shows the face, with the options of its row."""

    name: str
    options: AnimationConfig
    shown: np.ndarray | Picture
    source: SourceVideo | None = None


class PortraitStage(Stage[StageConfig]):
    """Extract the portrait in `image` of a row; in a video, follow the face.

    Payload: `PortraitPayload`. Facts: `width`, `height`, `n_faces`, `image_phash`, `warnings`, `warning_codes`,
    `bytes`. The result depends on the content of the picture and on the options of the row for this stage, so it can
    be shared.

    The stage accepts rows of one mode, that of its configuration; another instance processes the other mode.
    """

    name = "portrait"
    resources = Resources(gpu=1 / 8, workers="per_gpu")
    unit = "portrait"
    columns: ClassVar = {"n_faces": int, "image_phash": str, **WARNING_COLUMNS}

    def setup(self) -> None:
        """Load the face detector and the networks of the portrait."""
        self._models = Models(self.config.animation)
        _ = self._models.detector, self._models.encoder

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Find the faces of all pictures and encode all portraits at once; one at a time in `strict` mode."""

        def read(at: int) -> _Input:
            def report(_step: str, done: int, total: int | None) -> None:
                finished = at + estimate_fraction(done, total)
                self.report_progress(finished / len(batch), finished)

            return self._read(batch[at], report)

        detected = self._map(map_each(range(len(batch)), read), self._detect)
        portraits = self._map(map_each(detected, self._crop), self._encode)
        return map_each(portraits, self._pack)

    def _map(self, entries: Sequence[T | Failed], function: Callable[[list[T]], Sequence[R]]) -> list[R | Failed]:
        """Call a function with all entries at once, or with one at a time in `strict` mode."""
        if self.config.strict:
            return map_each(entries, lambda entry: function([entry])[0])
        return map_batch(entries, function)

    def _read(self, item: Item, on_progress: Progress) -> _Input:
        mode, expected = item.record.mode, self.config.animation.mode
        if mode != expected:
            raise ConfigError(
                "mode_misrouted", f"mode is {mode!r}; expected {expected}, which this stage was built for"
            )
        with local_file(item.record.require("image"), self.media_cache) as path:
            options = self.config.for_record(item.record)
            if is_source_video(path):
                source = self._models.read_source_video(path, options, on_progress)
                return _Input(str(path), options, self._models.first_picture(source, options), source)
            return _Input(str(path), options, read_portrait_image(path, options.picture))

    def _detect(self, inputs: Sequence[_Input]) -> list[tuple[_Input, list[Face]]]:
        """Detect the faces of pictures; those of source videos are known."""
        images = [entry.shown for entry in inputs if isinstance(entry.shown, np.ndarray)]
        found = iter(self._models.detect_faces(images))
        return [(entry, next(found) if isinstance(entry.shown, np.ndarray) else []) for entry in inputs]

    def _crop(self, detected: tuple[_Input, list[Face]]) -> tuple[Picture, SourceVideo | None]:
        entry, faces = detected
        if isinstance(entry.shown, Picture):
            return entry.shown, entry.source
        return self._models.crop_portrait(entry.shown, faces, name=entry.name, options=entry.options), None

    def _encode(
        self, pictures: Sequence[tuple[Picture, SourceVideo | None]]
    ) -> list[tuple[Portrait, SourceVideo | None]]:
        portraits = self._models.encoder.encode([picture for picture, _ in pictures])
        return [(portrait, source) for portrait, (_, source) in zip(portraits, pictures, strict=True)]

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
            "image_phash": perceptual_hash(picture.image),
            **warning_facts((*picture.warnings, *(source.warnings if source else ()))),
            "bytes": payload.n_bytes,
        }
        return Ok(payload, facts)
