"""Rendered faces become the frames of the video."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from joyvasa.faces.paster import Paster
from joyvasa.faces.device_paster import DevicePaster
from joyvasa.media.provenance import stamp_frames
from joyvasa.rendering.portrait import Picture

PASTED_BY_OPENCV = ("cpu",)  # devices


class FrameComposer:
    """Puts rendered crops back into their picture, or shows them alone.

    What the device does ends with `prepare`; `compose` is for the host, and for another thread. Crops are pasted where
    they were rendered; on a CPU by OpenCV, which is several times faster there.

    Args:
        picture: that was animated.
        paste_back: into the whole picture; off: the video shows the crop alone.
        output_size: side of the rendered crops, pixels.
        device: that renders.
        mark: letters in every frame, or None.
    """

    def __init__(
        self, picture: Picture, *, paste_back: bool, output_size: int, device: torch.device, mark: str | None = None
    ) -> None:
        self._mark, self._device = mark, device
        self._paster = self._device_paster = None
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
                if device.type not in PASTED_BY_OPENCV:
                    self._device_paster = DevicePaster(self._paster, output_size, device)
            else:
                self._resize = (self.height, self.width) != (output_size, output_size)

    def frames(self, crops: Tensor) -> np.ndarray:
        """Frames of the video, at once; as `compose(prepare(crops))`."""
        return self.compose(self.prepare(crops))

    def prepare(self, crops: Tensor) -> np.ndarray:
        """What `compose` takes, fetched from the device in one copy.

        Args:
            crops: RGB, uint8, shape (batch, output_size, output_size, 3), on any device.

        Returns:
            RGB, uint8, shape (batch, ...): the crops, or what they change of the picture.
        """
        if self._device_paster is not None:
            crops = self._device_paster.paste(crops.to(self._device))
        return crops.cpu().numpy()

    def compose(self, prepared: np.ndarray) -> np.ndarray:
        """Frames of the video.

        Args:
            prepared: by `prepare`.

        Returns:
            RGB, uint8, shape (batch, height, width, 3); the argument itself where nothing is to be done.
        """
        frames = prepared
        if self._device_paster is not None and self._paster is not None:
            frames = self._paster.insert_patches(prepared)
        elif self._paster is not None:
            frames = self._paster.paste(prepared)
        elif self._resize:
            size = (self.width, self.height)
            frames = np.stack([cv2.resize(crop, size, interpolation=cv2.INTER_LINEAR) for crop in prepared])
        if self._mark:
            stamp_frames(frames, self._mark)
        return frames
