"""Rendered faces become the frames of the video."""

from __future__ import annotations

import cv2
import numpy as np

from joyvasa.faces.paste import Paster
from joyvasa.portrait import Picture
from joyvasa.provenance import stamp


class FrameComposer:
    """Puts rendered crops back into their picture, or shows them alone.

    Args:
        picture: that was animated.
        paste_back: into the whole picture; off: the video shows the crop alone.
        output_size: side of the rendered crops, pixels.
        mark: letters in every frame, or None.
    """

    def __init__(self, picture: Picture, *, paste_back: bool, output_size: int, mark: str | None = None) -> None:
        self._mark = mark
        self._paster = None
        self.height = self.width = output_size
        self._resize = False
        if paste_back:
            self.height, self.width = picture.image.shape[:2]
            if picture.crop is not None:
                self._paster = Paster(
                    picture=picture.image,
                    to_original=picture.crop.to_original,
                    crop_size=len(picture.crop.image),
                )
            else:
                self._resize = (self.height, self.width) != (output_size, output_size)

    def compose(self, crops: np.ndarray) -> np.ndarray:
        """Frames of the video.

        Args:
            crops: RGB, uint8, shape (batch, output_size, output_size, 3).

        Returns:
            RGB, uint8, shape (batch, height, width, 3); the argument itself where nothing is to be done.
        """
        frames = crops
        if self._paster is not None:
            frames = self._paster.paste(crops)
        elif self._resize:
            size = (self.width, self.height)
            frames = np.stack([cv2.resize(crop, size, interpolation=cv2.INTER_LINEAR) for crop in crops])
        if self._mark:
            stamp(frames, self._mark)
        return frames
