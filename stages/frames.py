"""Frames of several records, cut into the batches that the networks render."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from joyvasa.models import Models
from joyvasa.runtime.device import autocast
from stages.base import Failed, FailureKind
from stages.isolation import classify_for_record


@dataclass(eq=False, kw_only=True)
class RenderJob:
    """A record whose frames are being rendered.

    Attributes:
        feature: of its portrait, shape (1, channels, depth, height, width).
        source_keypoints: shape (1, keypoints, 3).
        keypoints: shape (frames, keypoints, 3).
        failure: set as soon as its frames are of no more use.
    """

    feature: Tensor
    source_keypoints: Tensor
    keypoints: Tensor
    failure: Failed | None = field(default=None)

    @property
    def n_frames(self) -> int:
        """Frames of the video."""
        return len(self.keypoints)


@dataclass(frozen=True)
class FrameRange:
    """Some frames of one record."""

    playing: RenderJob
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def split(self) -> list[FrameRange]:
        """Its halves; itself if it has one frame."""
        middle = (self.start + self.stop) // 2
        halves = (FrameRange(self.playing, self.start, middle), FrameRange(self.playing, middle, self.stop))
        return [half for half in halves if len(half)]


def split_into_batches(records: Sequence[RenderJob], batch_frames: int, *, mixed: bool) -> Iterator[list[FrameRange]]:
    """Cuts the frames of the records, one record after another, into batches.

    Records that fail on the way are left out from then on.

    Args:
        records: in the order of rendering.
        batch_frames: frames of a batch.
        mixed: a batch may hold frames of several records; else the last one of each record is smaller.
    """
    batch: list[FrameRange] = []
    for playing in records:
        start = 0
        while start < playing.n_frames and not playing.failure:
            room = batch_frames - sum(map(len, batch))
            part = FrameRange(playing, start, min(start + room, playing.n_frames))
            batch.append(part)
            start = part.stop
            if len(part) == room or not mixed:
                yield batch
                batch = []
    if batch:
        yield batch


class FrameRenderer:
    """Renders batches of parts; what goes wrong with one record's frames is noted there.

    Args:
        models: with the renderer.
        batch_frames: frames of a batch.
        fixed_shape: fill each batch up to `batch_frames`, so that every call has the same shape.
    """

    def __init__(self, models: Models, batch_frames: int, *, fixed_shape: bool) -> None:
        self._models, self._batch_frames, self._fixed_shape = models, batch_frames, fixed_shape

    def render(self, parts: Sequence[FrameRange]) -> Iterator[tuple[FrameRange, Tensor]]:
        """Crops of the parts, as far as they could be rendered: uint8 (frames, side, side, 3), on the device.

        Where memory does not do, halves are tried, down to single frames; not with a fixed shape, as the halves would
        have another one.
        """
        try:
            crops = self._render(parts)
        except Exception as error:  # sorted below: what it means for the records
            failure = classify_for_record(error)
        else:
            yield from zip(parts, crops.split([len(part) for part in parts]), strict=True)
            return
        if failure.kind is FailureKind.OUT_OF_MEMORY and torch.cuda.is_available():
            torch.cuda.empty_cache()
        smaller: list[list[FrameRange]] = []
        if len(parts) > 1:
            smaller = [[part] for part in parts]
        elif failure.kind is FailureKind.OUT_OF_MEMORY and not self._fixed_shape and len(parts[0]) > 1:
            smaller = [[half] for half in parts[0].split()]
        for some in smaller:
            if not some[0].playing.failure:
                yield from self.render(some)
        if not smaller:
            parts[0].playing.failure = failure

    def _render(self, parts: Sequence[FrameRange]) -> Tensor:
        n_frames = sum(map(len, parts))
        driving = torch.cat([part.playing.keypoints[part.start : part.stop] for part in parts])
        feature = _gather(parts, lambda playing: playing.feature)
        source = _gather(parts, lambda playing: playing.source_keypoints)
        if self._fixed_shape:
            filler = driving[-1:].expand(self._batch_frames - n_frames, -1, -1)
            driving = torch.cat([driving, filler])
        with autocast(self._models.device, self._models.config.precision):
            return self._models.renderer.render(feature, source, driving)[:n_frames]


def _gather(parts: Sequence[FrameRange], of: Callable[[RenderJob], Tensor]) -> Tensor:
    """What belongs to the record of each frame, shape (frames, ...); (1, ...) where all are of one record."""
    if len(parts) == 1:
        return of(parts[0].playing)
    return torch.cat([of(part.playing).expand(len(part), *[-1] * (of(part.playing).ndim - 1)) for part in parts])
