"""Clips, the input of metrics, built from payloads."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from joyvasa.config import apply_options
from joyvasa.metrics.base import Clip
from joyvasa.metrics.support.reference_frame import build_clip
from joyvasa.mode import Mode
from joyvasa.models import Models
from manifests.scratch import scratch_folder
from manifests.storage import LocalStorage, Storage
from stages.base import Item
from stages.media import local_file
from stages.media_cache import MediaCacheConfig
from stages.motion import MotionPayload
from stages.portrait import PortraitPayload
from stages.read_video import ExistingVideo
from stages.video_output import VideoPayload


@contextmanager
def open_generated_clip(
    item: Item, storage: Storage, models: Models, cache: MediaCacheConfig | None
) -> Generator[Clip]:
    """Yield the clip of a video that this run generated.

    Args:
        item: item with the payloads `portrait`, `motion` and `render`.
        storage: storage of the run folder.
        models: models that the video was generated with; no network is loaded.
        cache: cache for copies of media, see `stages.media.local_file`.

    Raises:
        OSError: the video or the audio cannot be fetched.
    """
    video: VideoPayload = item.inputs["render"]
    portrait: PortraitPayload = item.inputs["portrait"]
    motion: MotionPayload = item.inputs["motion"]
    record = item.record
    mode: Mode = record.mode  # type: ignore[assignment]  (checked by the scan)
    options = apply_options(replace(models.config, mode=mode), record.options)
    controller = models.build_controller(options)
    sound, sequence = motion.find_sound(record), motion.to_motion()
    if portrait.source:
        sequence, _ = portrait.source.fit_motion(sequence)

    with ExitStack() as files:
        yield build_clip(
            portrait.picture,
            models.build_composer(portrait.picture, options),
            models.bundle.switches,
            pasted=options.paste_back,
            video=files.enter_context(_stored_file(storage, video.video)),
            frames_per_second=video.frames_per_second,
            width=video.width,
            height=video.height,
            has_sound=sound is not None,
            sound=files.enter_context(local_file(sound, cache)) if sound else None,
            motion=controller.displace(controller.shape(sequence, record.seed)),
            mode=record.mode,
            seed=record.seed,
        )


@contextmanager
def open_existing_clip(item: Item, cache: MediaCacheConfig | None) -> Generator[Clip]:
    """Yield the clip of an existing video.

    Args:
        item: item with the payload `read_video`.
        cache: cache for copies of media, see `stages.media.local_file`.

    Raises:
        OSError: the video or the audio cannot be fetched.
        InputError: `file_missing`.
    """
    video: ExistingVideo = item.inputs["read_video"]
    record = item.record

    with ExitStack() as files:
        yield Clip(
            video=files.enter_context(local_file(record.require("video"), cache)),
            frames_per_second=float(video.info.frames_per_second),
            width=video.info.width,
            height=video.info.height,
            has_sound=video.info.has_sound,
            sound=files.enter_context(local_file(record.audio, cache)) if record.audio else None,
            reference_frame=video.image,
            face_box=video.face_box,
            mode=record.mode,
            seed=record.seed,
        )


@contextmanager
def _stored_file(storage: Storage, path: str) -> Generator[Path]:
    if isinstance(storage, LocalStorage):
        yield storage.path(path)
        return
    with scratch_folder() as folder:
        target = folder / "video.mp4"
        with storage.open(path) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
        yield target
