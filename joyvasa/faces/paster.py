"""Paste rendered faces back into the picture they were cropped from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from joyvasa.errors import ConfigError
from joyvasa.media.image import Image

_BORDER_RIM = 2.5  # pixels of an enlarged frame that are blended with the black outside the picture
_MASK_MARGIN = 32  # the margin is 1/32 of the side of the crop, 16 of 512 pixels, as in LivePortrait's template

# Fixed-point arithmetic of cv2.warpAffine: coordinates in 1/1024 pixel, interpolation in 1/32 pixel.
_COORDINATE_BITS = 10
INTERPOLATION_BITS = 5


def create_blend_mask(size: int = 512) -> Image:
    """Create the blending mask of a crop, uint8 (size, size).

    It is 255 inside and decreases to 0 with the distance from the inner square.
    """
    margin = size / _MASK_MARGIN
    index = np.arange(size)
    outside = np.maximum(0, np.maximum(margin - index, index - (size - margin)))
    distance = np.hypot(outside[:, None], outside[None, :])
    return np.floor(255 * np.clip(1 - distance / margin, 0, 1)).astype(np.uint8)


@dataclass(frozen=True)
class Blend:
    """Maps and weights that paste frames of one size into the rectangle."""

    maps: tuple[NDArray[np.int16], NDArray[np.uint16]]  # coordinate maps for `cv2.remap`
    visible: Image  # mask of the visible part of the frame, uint8 (height, width), 0 or 255
    blended: NDArray[np.intp]  # flat indices of pixels that blend frame and picture (n,)
    weight: NDArray[np.float32]  # weight of the frame at these pixels, float32 (n, 1)
    under: NDArray[np.floating]  # weighted picture at these pixels (n, 3)


class Paster:
    """Paste rendered frames into one picture.

    Maps and masks are computed once, for the rectangle that can change, so the cost of a frame depends on the size of
    the face, not of the picture. Threads may share a paster.

    Args:
        picture: uint8 RGB (height, width, 3).
        to_original: matrix from pixels of the crop to pixels of `picture` (3, 3).
        crop_size: side of the crop of `to_original`, pixels.

    Raises:
        ConfigError: the crop does not overlap the picture.
    """

    def __init__(self, *, picture: Image, to_original: NDArray[np.floating], crop_size: int = 512) -> None:
        self.picture = np.ascontiguousarray(picture)
        self.crop_size = crop_size
        self._to_original = np.asarray(to_original, dtype=np.float64)

        height, width = picture.shape[:2]
        left, top, right, bottom = self._crop_bounds(width, height)
        mask = cv2.remap(
            create_blend_mask(crop_size), *self._compute_maps((left, top, right, bottom), crop_size), cv2.INTER_LINEAR
        )
        rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
        if not rows.size:
            raise ConfigError(
                "paste_outside", f"the crop lies outside of the {width}x{height} picture it is pasted into"
            )

        # Bounding box of the mask: (left, top, right, bottom).
        self.rectangle = (
            left + int(columns[0]),
            top + int(rows[0]),
            left + int(columns[-1]) + 1,
            top + int(rows[-1]) + 1,
        )
        self._mask = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        self._blends = {crop_size: self._compute_blend(crop_size)}

    def paste(self, frames: Image) -> Image:
        """Paste frames into copies of the picture.

        Args:
            frames: uint8 RGB (frames, side, side, 3); the side may differ from that of the crop.

        Returns:
            `mask * warped frame + (1 - mask) * picture`, rounded down, uint8 RGB (frames, height, width, 3).

        Raises:
            ConfigError: the frames are not square.
        """
        if frames.ndim != 4 or frames.shape[1] != frames.shape[2] or frames.shape[3] != 3:
            raise ConfigError("paste_shape", f"frames of shape {frames.shape} found; expected (frames, side, side, 3)")

        left, top, right, bottom = self.rectangle
        blend = self.get_blend(frames.shape[1])
        result: Any = np.empty((len(frames), *self.picture.shape), dtype=np.uint8)
        for frame, canvas in zip(frames, result, strict=True):
            canvas[:] = self.picture
            warped = np.asarray(cv2.remap(frame, *blend.maps, cv2.INTER_LINEAR))
            pixels: Any = warped.reshape(-1, 3)
            pixels[blend.blended] = np.clip(blend.weight * pixels[blend.blended] + blend.under, 0, 255)
            cv2.copyTo(warped, blend.visible, canvas[top:bottom, left:right])
        return result

    def insert_patches(self, patches: Image) -> Image:
        """Insert patches that are already blended, of the size of `rectangle`, into copies of the picture.

        Both are uint8 RGB, shape (frames, height, width, 3).
        """
        left, top, right, bottom = self.rectangle
        result = np.repeat(self.picture[None], len(patches), axis=0)
        result[:, top:bottom, left:right] = patches
        return result

    def get_blend(self, side: int) -> Blend:
        """Return the maps and weights for frames of this side in pixels, cached."""
        return self._blends.get(side) or self._blends.setdefault(side, self._compute_blend(side))

    def _compute_blend(self, side: int) -> Blend:
        left, top, right, bottom = self.rectangle
        mask = self._mask if side >= self.crop_size else np.minimum(self._mask, self._border_mask(side))
        blended = np.flatnonzero((mask > 0) & (mask < 255))
        weight = mask.reshape(-1, 1)[blended].astype(np.float32) / np.float32(255)
        region = self.picture[top:bottom, left:right].reshape(-1, 3)
        return Blend(
            maps=self._compute_maps(self.rectangle, side),
            visible=np.where(mask > 0, np.uint8(255), np.uint8(0)),
            blended=blended,
            weight=weight,
            under=(1 - weight) * region[blended],
        )

    def _border_mask(self, side: int) -> Image:
        """Compute a mask that decreases from 255 to 0 towards the borders of the picture, uint8.

        Crops are black outside the picture. Enlarging a frame that is smaller than the crop would blur this black into
        the picture as a dark line.
        """
        left, top, right, bottom = self.rectangle
        height, width = self.picture.shape[:2]
        scale = np.sqrt(abs(np.linalg.det(self._to_original[:2, :2])))
        pixel_size = scale * self.crop_size / side  # size of a pixel of the frame in the picture
        x, y = np.arange(left, right), np.arange(top, bottom)
        distance = np.minimum(np.minimum(y, height - 1 - y)[:, None], np.minimum(x, width - 1 - x))
        return (255 * np.clip(distance / (_BORDER_RIM * pixel_size), 0, 1)).astype(np.uint8)

    def _crop_bounds(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return the bounding box of the crop in the picture, with a margin of one pixel."""
        edge = np.array([-1, self.crop_size])
        corners = np.stack([*np.meshgrid(edge, edge), np.ones((2, 2))]).reshape(3, 4)
        x, y = (self._to_original @ corners)[:2]
        left, right = np.clip([np.floor(x.min()) - 1, np.ceil(x.max()) + 2], 0, width).astype(int)
        top, bottom = np.clip([np.floor(y.min()) - 1, np.ceil(y.max()) + 2], 0, height).astype(int)
        return int(left), int(top), int(max(right, left + 1)), int(max(bottom, top + 1))

    def _compute_maps(
        self, rectangle: tuple[int, int, int, int], side: int
    ) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
        """Compute the maps for `cv2.remap` from pixels of a rectangle of the picture to pixels of a frame.

        Rounding is that of `cv2.warpAffine` for the whole picture, which rounds the terms in x and y separately;
        warping a part with a translated matrix would give slightly different pixels.
        """
        left, top, right, bottom = rectangle
        ratio = self.crop_size / side  # from pixel centers of the frame to those of the crop
        frame_to_crop = np.array([[ratio, 0, (ratio - 1) / 2], [0, ratio, (ratio - 1) / 2], [0, 0, 1]])
        inverse = np.linalg.inv(self._to_original @ frame_to_crop)

        scale = 1 << _COORDINATE_BITS
        x, y = np.arange(left, right), np.arange(top, bottom)[:, None]
        half = 1 << (_COORDINATE_BITS - INTERPOLATION_BITS - 1)
        fixed = [
            (np.rint((row[1] * y + row[2]) * scale) + half + np.rint(row[0] * x * scale)).astype(np.int64)
            >> (_COORDINATE_BITS - INTERPOLATION_BITS)
            for row in inverse[:2]
        ]
        whole = [np.clip(value >> INTERPOLATION_BITS, -32768, 32767).astype(np.int16) for value in fixed]
        fraction = [value & ((1 << INTERPOLATION_BITS) - 1) for value in fixed]
        return np.stack(whole, axis=-1), (fraction[1] * (1 << INTERPOLATION_BITS) + fraction[0]).astype(np.uint16)
