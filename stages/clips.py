"""From payloads to clips: what is known of a video that is about to be measured."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from joyvasa.metrics.base import Clip
from joyvasa.metrics.support.reference_frame import build_clip
from joyvasa.models import Models
from manifests.scratch import scratch_folder
from manifests.storage import LocalStorage, Storage
from stages.base import Item
from stages.media import local_file
from stages.motion import MotionPayload
from stages.portrait import PortraitPayload
from stages.read_video import ExistingVideo
from stages.video_output import VideoPayload


@contextmanager
def generated_clip(item: Item, storage: Storage, models: Models) -> Generator[Clip]:
    """The clip of a video that this run has made.

    Args:
        item: with the payloads `portrait`, `motion` and `render`.
        storage: of the run folder.
        models: that the video was made with; no network is loaded.

    Raises:
        OSError: video or sound cannot be fetched.
    """
    made: VideoPayload = item.inputs["render"]
    portrait: PortraitPayload = item.inputs["portrait"]
    motion: MotionPayload = item.inputs["motion"]
    record = item.record
    with ExitStack() as files:
        yield build_clip(
            portrait.picture,
            models.build_composer(portrait.picture),
            models.bundle.switches,
            pasted=models.config.paste_back,
            video=files.enter_context(_stored_file(storage, made.video)),
            frames_per_second=made.frames_per_second,
            width=made.width,
            height=made.height,
            has_sound=bool(record.audio),
            sound=files.enter_context(local_file(record.audio)) if record.audio else None,
            motion=motion.to_motion(),
            mode=record.mode,
            seed=item.record.seed,
        )


@contextmanager
def existing_clip(item: Item) -> Generator[Clip]:
    """The clip of a video that a row brings.

    Args:
        item: with the payload `video`.

    Raises:
        OSError: video or sound cannot be fetched.
        InputError: `file_missing`.
    """
    found: ExistingVideo = item.inputs["read_video"]
    record = item.record
    with ExitStack() as files:
        yield Clip(
            video=files.enter_context(local_file(record.require("video"))),
            frames_per_second=float(found.info.frames_per_second),
            width=found.info.width,
            height=found.info.height,
            has_sound=found.info.has_sound,
            sound=files.enter_context(local_file(record.audio)) if record.audio else None,
            reference_frame=found.still,
            face_box=found.face_box,
            mode=record.mode,
            seed=item.record.seed,
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
