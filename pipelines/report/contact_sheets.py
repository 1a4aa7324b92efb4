"""A few frames of a video in a row, as a small picture."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from joyvasa.errors import InputError
from joyvasa.media.video_reader import probe_video, stream_video
from pipelines.report.rows import Progress, silent
from stages.media import local_file

MAX_ASPECT = 2.0  # width over height of a frame; wider ones are squeezed
MAX_THREADS = 8  # each has a decoder
FALLBACK_S = 4.0  # length to spread frames over where the rows do not say it


@dataclass(frozen=True)
class SheetConfig:
    """How contact sheets look.

    Args:
        frames: of a sheet.
        height: of a frame, pixels.
        quality: of the JPEG file.
        max_s: of a video that frames are spread over, so that a long one takes no longer.
        total_s: of all videos together; where they are many, less than `max_s` is seen of each.
    """

    frames: int = 5
    height: int = 80
    quality: int = 62
    max_s: float = 30.0
    total_s: float = 1000.0


@dataclass(frozen=True)
class Source:
    """A video to show.

    Args:
        location: absolute local path or URI.
        duration_s: as far as known.
    """

    location: str
    duration_s: float | None


def contact_sheets(
    sources: Mapping[int, Source], config: SheetConfig | None = None, *, on_progress: Progress = silent
) -> dict[int, bytes]:
    """JPEG files by the keys of the videos, in their order; those that cannot be read are left out.

    Args:
        sources: the videos.
        config: how sheets look.
        on_progress: hears how far it is.
    """
    config = config or SheetConfig()
    max_s = min(config.max_s, config.total_s / max(1, len(sources)))
    sheets: dict[int, bytes] = {}
    with ThreadPoolExecutor(min(os.cpu_count() or 1, MAX_THREADS)) as pool:
        jobs = {key: pool.submit(contact_sheet, source, config, max_s=max_s) for key, source in sources.items()}
        for number, (key, job) in enumerate(jobs.items()):
            # A video that was removed or damaged since has no sheet, and the page says so.
            with contextlib.suppress(InputError, OSError):
                sheets[key] = job.result()
            on_progress("contact sheets", number + 1, len(jobs))
    return sheets


def contact_sheet(source: Source, config: SheetConfig, *, max_s: float) -> bytes:
    """Frames of a video beside each other, a JPEG file.

    Args:
        source: the video.
        config: how sheets look.
        max_s: of the video, from its beginning.

    Raises:
        InputError: the video is missing or cannot be read.
        OSError: it could not be fetched.
    """
    from PIL import Image

    with local_file(source.location) as path:
        info = probe_video(path)
        width = max(2, round(config.height * min(info.width / info.height, MAX_ASPECT)))
        length_s = min(source.duration_s or FALLBACK_S, max_s)
        rate = config.frames / max(length_s, 1 / float(info.frames_per_second))
        stream = stream_video(
            path,
            frames_per_second=min(rate, float(info.frames_per_second)),
            size=(width, config.height),
            batch_frames=1,
            info=info,
        )
        frames = [batch[0] for batch, _ in zip(stream, range(config.frames), strict=False)]
    sink = io.BytesIO()
    Image.fromarray(np.concatenate(frames, axis=1)).save(sink, "JPEG", quality=config.quality, optimize=True)
    return sink.getvalue()
