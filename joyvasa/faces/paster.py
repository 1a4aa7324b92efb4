"""Paste-back: rendered faces blended into the picture they were cut from."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from joyvasa.errors import ConfigError
from joyvasa.media.image import Image

_BORDER_RIM = 2.5  # pixels of a frame that is enlarged: so far do they mix with the black beyond the picture
_MASK_MARGIN = 32  # the blend takes 1/32 of the crop's side on each edge: 16 of 512 pixels, LivePortrait's template

# Fixed-point arithmetic of cv2.warpAffine: coordinates in 1/1024 pixel, interpolation in 1/32 pixel.
_COORDINATE_BITS = 10
INTERPOLATION_BITS = 5


def blend_mask(size: int = 512) -> Image:
    """The blending mask of a crop: 255 inside, falling to 0 over the margin with the distance from the inner square.

    Args:
        size: side of the crop, pixels.

    Returns:
        uint8 (size, size).
    """
    margin = size / _MASK_MARGIN
    index = np.arange(size)
    outside = np.maximum(0, np.maximum(margin - index, index - (size - margin)))
    distance = np.hypot(outside[:, None], outside[None, :])
    return np.floor(255 * np.clip(1 - distance / margin, 0, 1)).astype(np.uint8)


@dataclass(frozen=True)
class Blend:
    """How frames of one size go into the rectangle.

    Args:
        maps: for `cv2.remap`.
        visible: uint8 (height, width), 255 where the frame is seen.
        blended: where the picture is seen, too; indices of the flat rectangle, (n,).
        weight: of the frame there, float32 (n, 1).
        under: what the picture adds there, (n, 3).
    """

    maps: tuple[NDArray[np.int16], NDArray[np.uint16]]
    visible: Image
    blended: NDArray[np.intp]
    weight: NDArray[np.float32]
    under: NDArray[np.floating]


class Paster:
    """Pastes rendered frames into one picture.

    Built once per portrait: the warp's coordinates and the mask are computed here, and only for the rectangle that
    can change, so that a frame costs the size of the face and not that of the picture. Reads its state only, so
    threads may share one.

    Args:
        picture: uint8 RGB (height, width, 3).
        to_original: (3, 3), pixels of the crop -> pixels of `picture`.
        crop_size: side of the crop that `to_original` belongs to, pixels.

    Raises:
        ConfigError: the crop does not touch the picture.
    """

    def __init__(self, *, picture: Image, to_original: NDArray[np.floating], crop_size: int = 512) -> None:
        self.picture = np.ascontiguousarray(picture)
        self.crop_size = crop_size
        self._to_original = np.asarray(to_original, dtype=np.float64)
        height, width = picture.shape[:2]
        left, top, right, bottom = self._reach(width, height)
        mask = cv2.remap(blend_mask(crop_size), *self._maps((left, top, right, bottom), crop_size), cv2.INTER_LINEAR)
        rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
        if not rows.size:
            raise ConfigError(
                "paste_outside", f"the crop lies outside of the {width}x{height} picture it is pasted into"
            )

        # The smallest rectangle around all that is not transparent: (left, top, right, bottom).
        self.rectangle = (
            left + int(columns[0]),
            top + int(rows[0]),
            left + int(columns[-1]) + 1,
            top + int(rows[-1]) + 1,
        )
        self._mask = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        self._blends = {crop_size: self._blend(crop_size)}

    def paste(self, frames: Image) -> Image:
        """Pastes frames into copies of the picture.

        Args:
            frames: uint8 RGB (frames, side, side, 3); the side may differ from that of the crop.

        Returns:
            uint8 RGB (frames, height, width, 3): `mask * warped frame + (1 - mask) * picture`, fractions cut off.

        Raises:
            ConfigError: the frames are not square.
        """
        if frames.ndim != 4 or frames.shape[1] != frames.shape[2] or frames.shape[3] != 3:
            raise ConfigError("paste_shape", f"frames of shape {frames.shape} found; expected (frames, side, side, 3)")
        left, top, right, bottom = self.rectangle
        side = frames.shape[1]
        blend = self.blend(side)
        result = np.empty((len(frames), *self.picture.shape), dtype=np.uint8)
        for number, frame in enumerate(frames):
            canvas = result[number]
            canvas[:] = self.picture
            warped = np.asarray(cv2.remap(frame, *blend.maps, cv2.INTER_LINEAR))
            pixels = warped.reshape(-1, 3)
            pixels[blend.blended] = np.clip(blend.weight * pixels[blend.blended] + blend.under, 0, 255)
            cv2.copyTo(warped, blend.visible, canvas[top:bottom, left:right])
        return result

    def insert_patches(self, patches: Image) -> Image:
        """Sets finished rectangles into copies of the picture.

        Args:
            patches: uint8 RGB (frames, height, width, 3), the size of `rectangle`.

        Returns:
            uint8 RGB (frames, height, width, 3), the size of the picture.
        """
        left, top, right, bottom = self.rectangle
        result = np.repeat(self.picture[None], len(patches), axis=0)
        result[:, top:bottom, left:right] = patches
        return result

    def blend(self, side: int) -> Blend:
        """What it takes to paste frames of this side, pixels; computed once."""
        return self._blends.get(side) or self._blends.setdefault(side, self._blend(side))

    def _blend(self, side: int) -> Blend:
        left, top, right, bottom = self.rectangle
        mask = self._mask if side >= self.crop_size else np.minimum(self._mask, self._rim(side))
        blended = np.flatnonzero((mask > 0) & (mask < 255))
        weight = mask.reshape(-1, 1)[blended].astype(np.float32) / np.float32(255)
        region = self.picture[top:bottom, left:right].reshape(-1, 3)
        return Blend(
            maps=self._maps(self.rectangle, side),
            visible=np.where(mask > 0, np.uint8(255), np.uint8(0)),
            blended=blended,
            weight=weight,
            under=(1 - weight) * region[blended],
        )

    def _rim(self, side: int) -> Image:
        """255, falling to 0 towards the borders of the picture, uint8 of the rectangle's size.

        Where a crop leaves the picture it is black. A frame that is smaller than the crop and enlarged brings that
        black into the picture as a dark line.
        """
        left, top, right, bottom = self.rectangle
        height, width = self.picture.shape[:2]
        pixel = np.sqrt(abs(np.linalg.det(self._to_original[:2, :2]))) * self.crop_size / side  # of a frame
        x, y = np.arange(left, right), np.arange(top, bottom)
        near = np.minimum(np.minimum(y, height - 1 - y)[:, None], np.minimum(x, width - 1 - x))
        return (255 * np.clip(near / (_BORDER_RIM * pixel), 0, 1)).astype(np.uint8)

    def _reach(self, width: int, height: int) -> tuple[int, int, int, int]:
        """The part of the picture that the crop's corners span, with a pixel to spare."""
        edge = np.array([-1, self.crop_size])
        corners = np.stack([*np.meshgrid(edge, edge), np.ones((2, 2))]).reshape(3, 4)
        x, y = (self._to_original @ corners)[:2]
        left, right = np.clip([np.floor(x.min()) - 1, np.ceil(x.max()) + 2], 0, width).astype(int)
        top, bottom = np.clip([np.floor(y.min()) - 1, np.ceil(y.max()) + 2], 0, height).astype(int)
        return int(left), int(top), int(max(right, left + 1)), int(max(bottom, top + 1))

    def _maps(self, rectangle: tuple[int, int, int, int], side: int) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
        """Where each pixel of a rectangle of the picture lies in a frame, for `cv2.remap`.

        The roundings are those of `cv2.warpAffine` for the whole picture: it rounds the terms in x and y one by one,
        so warping a part with a translated matrix would give slightly different pixels.
        """
        left, top, right, bottom = rectangle
        ratio = self.crop_size / side  # pixel centers of the frame -> pixel centers of the crop
        frame_to_crop = np.array([[ratio, 0, (ratio - 1) / 2], [0, ratio, (ratio - 1) / 2], [0, 0, 1]])
        inverse = np.linalg.inv(self._to_original @ frame_to_crop)
        one = 1 << _COORDINATE_BITS
        x, y = np.arange(left, right), np.arange(top, bottom)[:, None]
        half = 1 << (_COORDINATE_BITS - INTERPOLATION_BITS - 1)
        fixed = [
            (np.rint((row[1] * y + row[2]) * one) + half + np.rint(row[0] * x * one)).astype(np.int64)
            >> (_COORDINATE_BITS - INTERPOLATION_BITS)
            for row in inverse[:2]
        ]
        whole = [np.clip(value >> INTERPOLATION_BITS, -32768, 32767).astype(np.int16) for value in fixed]
        part = [value & ((1 << INTERPOLATION_BITS) - 1) for value in fixed]
        return np.stack(whole, axis=-1), (part[1] * (1 << INTERPOLATION_BITS) + part[0]).astype(np.uint16)
