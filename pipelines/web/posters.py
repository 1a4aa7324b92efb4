"""First frames of videos as small JPEG files, which a browser shows before it loads a video."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from pathlib import Path

from PIL import Image

from joyvasa.errors import InputError
from joyvasa.media.video_reader import probe_video, stream_video

SIDE = 480  # longest side in pixels
QUALITY = 75  # of the JPEG files, about 20 kB each
DECODERS = 2  # videos that are decoded at once


class Posters:
    """A thread-safe cache of posters that evicts the least recently used ones.

    Args:
        limit: maximum size in bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._bytes = limit, 0
        self._posters: OrderedDict[tuple[object, ...], bytes] = OrderedDict()
        self._lock, self._decoders = threading.Lock(), threading.Semaphore(DECODERS)

    def find(self, video: Path) -> bytes:
        """Return the poster of a video; empty if the video cannot be read."""
        status = video.stat()
        key = (video, status.st_mtime_ns, status.st_size)
        with self._lock:
            if key in self._posters:
                self._posters.move_to_end(key)
                return self._posters[key]

        with self._decoders:
            poster = _read_poster(video)
        with self._lock:
            if key not in self._posters:
                self._posters[key] = poster
                self._bytes += len(poster)
            while self._bytes > self._limit:
                self._bytes -= len(self._posters.popitem(last=False)[1])
        return poster


def _read_poster(video: Path) -> bytes:
    try:
        info = probe_video(video)
        scale = min(1.0, SIDE / max(info.width, info.height))
        size = max(2, round(info.width * scale)), max(2, round(info.height * scale))
        frame = next(stream_video(video, size=size, batch_frames=1, info=info))[0]
    except InputError:  # damaged, or being replaced
        return b""
    sink = io.BytesIO()
    Image.fromarray(frame).save(sink, "JPEG", quality=QUALITY)
    return sink.getvalue()
