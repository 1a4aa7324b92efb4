"""Reference frame of a video and the position of the face in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch

from joyvasa.bundles.spec import Switches
from joyvasa.faces.geometry import FaceCrop
from joyvasa.faces.square import transform_points
from joyvasa.media.image import Image
from joyvasa.metrics.base import Clip
from joyvasa.motion.driving import find_driven_parts
from joyvasa.options import AnimationConfig
from joyvasa.rendering.compose import FrameComposer
from joyvasa.rendering.portrait import Picture

Box = tuple[int, int, int, int]


def compose_reference_frame(picture: Picture, composer: FrameComposer, output_size: int) -> Image:
    """Compose the frame that shows the picture without motion, with its own face instead of a rendered one.

    Returns:
        Frame in the size of the video, uint8 RGB (height, width, 3).
    """
    face = picture.image if picture.crop is None else picture.crop.image
    shrinks = min(face.shape[:2]) >= output_size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    crop = np.asarray(cv2.resize(face, (output_size, output_size), interpolation=method), dtype=np.uint8)
    return composer.frames(torch.from_numpy(crop[None]))[0]


def build_clip(
    picture: Picture,
    composer: FrameComposer,
    switches: Switches,
    options: AnimationConfig,
    *,
    source_moves: bool,
    **fields: Any,
) -> Clip:
    """Build the clip of a video generated from a picture or a source video.

    Args:
        picture: animated picture, or that of the first frame of a source video.
        composer: composer of the video.
        switches: switches of the model bundle.
        options: options that the video was generated with.
        source_moves: whether a source video was animated.
        fields: all other fields of `Clip`.
    """
    driving = options.driving.for_mode(options.mode)
    if source_moves:
        driving = replace(driving, region=options.source_video.region)
    width, height = fields["width"], fields["height"]
    return Clip(
        reference_frame=compose_reference_frame(picture, composer, switches.output_size),
        face_box=compute_face_box(picture.crop, width=width, height=height, pasted=options.paste_back),
        absolute_expression=switches.absolute_expression,
        driven_parts=find_driven_parts(
            driving, source_moves=source_moves, absolute_expression=switches.absolute_expression
        ),
        **fields,
    )


def compute_face_box(crop: FaceCrop | None, *, width: int, height: int, pasted: bool) -> Box:
    """Compute the area of a frame covered by the face crop: left, top, right, bottom in pixels.

    The area may exceed the frame.

    Args:
        crop: face crop of the picture; None if the whole picture is the crop.
        width: width of the frames, pixels.
        height: height of the frames, pixels.
        pasted: whether frames show the whole picture instead of the crop.
    """
    if crop is None or not pasted:
        return 0, 0, width, height
    side = len(crop.image)
    corners = transform_points(np.array([[0, 0], [side, 0], [side, side], [0, side]]) - 0.5, crop.to_original)
    (left, top), (right, bottom) = np.floor(corners.min(axis=0) + 0.5), np.ceil(corners.max(axis=0) + 0.5)
    return int(left), int(top), int(right), int(bottom)
