"""Small pictures for the page: previews of one frame, the faces of a portrait, and posters of videos.

The models of previews are loaded with the first one and stay loaded.
"""

from __future__ import annotations

import base64
import io
import threading
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from joyvasa.animator import Animator
from joyvasa.errors import InputError
from joyvasa.faces.detection import sort_faces
from joyvasa.media.image import read_image, resize_to_limit
from joyvasa.media.video_reader import probe_video, stream_video
from joyvasa.mode import Mode
from joyvasa.options import AnimationConfig
from joyvasa.rendering.portrait import Portrait
from pipelines.web.limits import ByteCache

PORTRAITS = 4  # encoded portraits kept
SIDE = 480  # longest side of a preview or poster in pixels
POSTER_QUALITY = 75  # of the JPEG files, about 20 kB each
DECODERS = 2  # videos that are decoded at once
FACE_SIDE, FACE_MARGIN = 96, 0.2  # pixels of the picture of a face; margin around its box, relative to the box
MAX_FACES = 12  # faces shown


class Previewer:
    """Makes previews for all browsers, one at a time, with models of its own: those of a device render videos.

    Args:
        config: options of animations; `device` is that of the previews.
    """

    def __init__(self, config: AnimationConfig) -> None:
        self._config = config
        self._animators: dict[Mode, Animator] = {}
        self._portraits: OrderedDict[tuple[object, ...], Portrait] = OrderedDict()
        self._lock = threading.Lock()

    def render(self, picture: Path, config: AnimationConfig) -> str:
        """Return the generated crop of a portrait at rest with the controls of a configuration, as a data URL.

        Raises:
            JoyvasaError: the errors of `joyvasa.animator.Animator.read_picture` and `preview`.
        """
        with self._lock:
            animator = self._find_animator(config.mode)
            key = (picture, config.mode, config.face, config.crop, config.framing, config.picture)
            if key not in self._portraits:
                self._portraits[key] = animator.encode_portraits([animator.read_picture(picture, config)])[0]
            self._portraits.move_to_end(key)
            while len(self._portraits) > PORTRAITS:
                self._portraits.popitem(last=False)
            frame = animator.preview(self._portraits[key], replace(config, paste_back=False))
            return inline_picture(Image.fromarray(frame), SIDE)

    def find_faces(self, picture: Path, config: AnimationConfig) -> list[str]:
        """Return the faces of a picture as data URLs, in the order of `face.index`.

        Raises:
            JoyvasaError: the errors of `joyvasa.media.image.read_image`, and missing models.
        """
        limits = config.picture
        image = resize_to_limit(read_image(picture), max_side=limits.max_side, division=limits.division)
        with self._lock:
            detector = self._find_animator(config.mode).models.detector
            faces = detector.detect(image) if detector else []
        faces = sort_faces([face for face in faces if face.side >= config.face.min_side], config.face.select)
        return [inline_picture(Image.fromarray(_cut(image, face.box)), FACE_SIDE) for face in faces[:MAX_FACES]]

    def _find_animator(self, mode: Mode) -> Animator:
        if mode not in self._animators:
            loaded = next((animator.models for animator in self._animators.values()), None)
            self._animators[mode] = Animator(self._config.for_mode(mode), models=loaded)
        return self._animators[mode]


def _cut(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return a part of a picture with a margin around a box: left, top, right, bottom in pixels."""
    left, top, right, bottom = map(float, box)
    margin = FACE_MARGIN * max(right - left, bottom - top)
    columns = slice(max(0, round(left - margin)), round(right + margin))
    return image[max(0, round(top - margin)) : round(bottom + margin), columns]


def inline_picture(picture: Image.Image, side: int, *, quality: int = 85) -> str:
    """Return a picture as a data URL, scaled down to a longest side in pixels."""
    picture.thumbnail((side, side))
    return f"data:image/jpeg;base64,{base64.b64encode(_encode(picture, quality)).decode()}"


def _encode(picture: Image.Image, quality: int) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, "JPEG", quality=quality)
    return sink.getvalue()


class Posters:
    """The posters of videos, with a cache; may be used by several threads.

    Args:
        limit: maximum size in bytes.
    """

    def __init__(self, limit: int) -> None:
        self._posters: ByteCache[bytes] = ByteCache(limit)
        self._decoders = threading.Semaphore(DECODERS)

    def find(self, video: Path) -> bytes:
        """Return the poster of a video; empty if the video cannot be read."""
        status = video.stat()
        key = (video, status.st_mtime_ns, status.st_size)
        poster = self._posters.get(key)
        if poster is None:
            with self._decoders:
                poster = _read_poster(video)
            self._posters.put(key, poster, len(poster))
        return poster


def _read_poster(video: Path) -> bytes:
    try:
        info = probe_video(video)
        scale = min(1.0, SIDE / max(info.width, info.height))
        size = max(2, round(info.width * scale)), max(2, round(info.height * scale))
        frame = next(stream_video(video, size=size, batch_frames=1, info=info))[0]
    except InputError:  # damaged, or being replaced
        return b""
    return _encode(Image.fromarray(frame), POSTER_QUALITY)
