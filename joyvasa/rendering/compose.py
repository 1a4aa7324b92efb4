"""Composition of video frames from rendered crops."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from joyvasa.faces.device_paster import DevicePaster
from joyvasa.faces.paster import Paster
from joyvasa.rendering.portrait import Picture

PASTED_BY_OPENCV = ("cpu",)  # devices


class FrameComposer:
    """Pastes rendered crops back into their picture, or outputs the crops.

    `prepare` uses the device and `compose` only the host, so that it may run in another thread. Crops are pasted on the
    device that rendered them; on a CPU by OpenCV, which is several times faster there.

    Args:
        picture: animated picture.
        paste_back: whether to paste crops into the whole picture instead of outputting them.
        output_size: side of the rendered crops, pixels.
        device: device that renders.
        mark: text drawn into every frame, or None.
    """

    def __init__(
        self, picture: Picture, *, paste_back: bool, output_size: int, device: torch.device, mark: str | None = None
    ) -> None:
        self._picture, self._mark, self._device = picture, mark, device
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
        """Compose the frames of crops in one call: `compose(prepare(crops))`."""
        return self.compose(self.prepare(crops))

    def original_frame(self) -> np.ndarray:
        """Return the frame without a rendered crop, uint8 RGB, shape (1, height, width, 3)."""
        picture = self._picture
        whole = picture.crop is None or self._paster is not None
        image = picture.image if whole or picture.crop is None else picture.crop.image
        size = (self.width, self.height)
        frames = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)[None]
        if self._mark:
            stamp_frames(frames, self._mark)
        return frames

    def prepare(self, crops: Tensor) -> np.ndarray:
        """Copy the input of `compose` to the host: the crops or the patches of the picture that they change.

        The crops are uint8 RGB, shape (batch, output_size, output_size, 3), on any device.
        """
        if self._device_paster is not None:
            crops = self._device_paster.paste(crops.to(self._device))
        return crops.cpu().numpy()

    def compose(self, prepared: np.ndarray) -> np.ndarray:
        """Compose frames of the video from the output of `prepare`.

        Returns:
            Frames, uint8 RGB, shape (batch, height, width, 3); may be the argument itself.
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


def stamp_frames(frames: np.ndarray, text: str) -> None:
    """Draw a line of text into the lower left corner of every frame, in place.

    Args:
        frames: frames, uint8 RGB, shape (batch, height, width, 3).
        text: one line of text; its size is proportional to the width of the picture.
    """
    height, width = frames.shape[1:3]
    scale = width / 2.5 / (18 * len(text))  # a Hershey letter is about 18 pixels wide at scale 1
    thickness = max(1, round(scale * 2))
    (_, letter_height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    corner = (max(2, width // 40), height - max(2, letter_height // 2))
    for frame in frames:
        cv2.putText(frame, text, corner, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), thickness * 3, cv2.LINE_AA)
        cv2.putText(frame, text, corner, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 220, 0), thickness, cv2.LINE_AA)
