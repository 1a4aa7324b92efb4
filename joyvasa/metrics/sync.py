"""Sync-C and Sync-D: whether the lips move with the sound, measured by SyncNet.

The authors of the JoyVASA paper follow Wav2Lip's evaluation, which runs syncnet_python with its face detector: detect
faces at 25 frames per second, track and crop each face, compare lips and sound at 31 shifts. syncnet_python first
re-encodes the video as MPEG-4 with MP3 sound, which delays the sound by 25 milliseconds. Here frames and sound are read
directly from the file, so results differ from it in the third digit, and offsets by up to one frame.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch

from joyvasa.errors import InputError
from joyvasa.media.video_reader import stream_video
from joyvasa.metrics.base import Clip, Measurement, Metric, MetricColumn, MetricModels, Values
from joyvasa.metrics.support.face_boxes import FaceBoxFinder
from joyvasa.metrics.support.face_tracks import CROP_SIDE, MIN_BOXES, MIN_SIDE, FaceTrack, crop_faces, track_faces
from joyvasa.metrics.support.frame_rate import FRAME_RATE, FrameRateConverter
from joyvasa.metrics.support.sound import FLOOR
from joyvasa.metrics.support.sound_windows import SoundWindows, stream_video_sound
from joyvasa.metrics.support.sync_score import ShiftDistances, SyncScore
from joyvasa.networks.metrics.syncnet import WINDOW_FRAMES

if TYPE_CHECKING:
    from joyvasa.networks.metrics.syncnet import SyncNet

MIN_FRAMES = WINDOW_FRAMES + 1  # the protocol drops the last complete window


class SyncMetric(Metric):
    """Confidence, distance and offset of lips and sound, averaged over all faces."""

    name = "sync"
    columns = (
        MetricColumn(
            "sync_c", "Sync-C", "how clearly one shift between lips and sound fits best (also LSE-C)", "", "higher"
        ),
        MetricColumn("sync_d", "Sync-D", "distance between lips and sound at the best shift (also LSE-D)", "", "lower"),
        MetricColumn(
            "sync_d_mean",
            "Sync-D, all shifts",
            "mean distance over all 31 shifts, probably the Sync-D of the JoyVASA paper",
            "",
            "lower",
        ),
        MetricColumn(
            "sync_offset",
            "Sound early",
            "frames of 40 ms by which the sound is early at the best shift; negative if the sound is late",
            "frames",
        ),
        MetricColumn("sync_tracks", "Faces tracked", "faces that were tracked long enough to be measured"),
    )
    roles = ("syncnet", "s3fd")
    license = "research, CC BY (SyncNet and S3FD, VGG Oxford)"

    def setup(self, models: MetricModels) -> None:
        """Load SyncNet and S3FD."""
        self._device = models.device
        self._syncnet: SyncNet = models.bundle.load_network("syncnet", models.device)  # type: ignore[assignment]
        s3fd = models.bundle.load_network("s3fd", models.device)
        self._finder = FaceBoxFinder(s3fd, models.device)  # type: ignore[arg-type]

    def start(self, clip: Clip) -> Measurement:
        """Start a measurement; animals and silent videos have no values."""
        if clip.mode != "human":
            raise InputError("not_human", f"mode {clip.mode}; SyncNet supports human faces only")
        if clip.soundtrack is None:
            raise InputError("no_sound", "the video has no sound; expected a sound stream")
        floor = 20 * np.log10(FLOOR)
        if clip.soundtrack.level.max(initial=floor) <= floor:
            sentence = f"the sound is silent, never above {floor:.0f} dBFS; expected a voice"
            raise InputError("sound_silent", sentence)
        return _Sync(clip, self._finder, self._syncnet, self._device)


class _Sync(Measurement):
    """Holds the boxes of all frames, 40 bytes per face, and frames for one batch."""

    def __init__(self, clip: Clip, finder: FaceBoxFinder, network: SyncNet, device: torch.device) -> None:
        self._clip, self._finder, self._network, self._device = clip, finder, network, device
        self._frames = FrameRateConverter(clip.frames_per_second)
        self._boxes: list[np.ndarray] = []

    def update(self, frames: np.ndarray) -> None:
        """Detect faces."""
        for chosen in self._frames.convert(frames):
            self._boxes += self._finder.find(chosen)

    def finish(self) -> Values:
        """Track the faces and decode the video once more for each track."""
        if len(self._boxes) < MIN_FRAMES:
            sentence = f"{len(self._boxes)} frames at {FRAME_RATE} a second; expected at least {MIN_FRAMES}"
            raise InputError("too_short", sentence)

        tracks = track_faces(self._boxes)
        if not tracks:
            return {**SyncMetric().all_missing("no_face_track", self._why_no_track()), "sync_tracks": 0.0}

        scores = [score for track in tracks if (score := self._score(track))]
        if not scores:
            sentence = f"the sound ends before {MIN_FRAMES} frames of a face; expected it to last as long as the video"
            raise InputError("sound_too_short", sentence)
        return {
            "sync_c": float(np.mean([score.confidence for score in scores])),
            "sync_d": float(np.mean([score.distance for score in scores])),
            "sync_d_mean": float(np.mean([score.mean_distance for score in scores])),
            # Offsets are not averaged; the face with the clearest fit determines the offset.
            "sync_offset": float(max(scores, key=lambda score: score.confidence).offset),
            "sync_tracks": float(len(scores)),
        }

    def _score(self, track: FaceTrack) -> SyncScore | None:
        rate = FrameRateConverter(self._clip.frames_per_second)
        frames = (chosen for batch in stream_video(self._clip.video) for chosen in rate.convert(batch))
        sound = SoundWindows(stream_video_sound(self._clip.video), first=track.first)
        return score_face(self._network, crop_faces(track, frames), sound, self._device)

    def _why_no_track(self) -> str:
        n_with_face = sum(1 for boxes in self._boxes if len(boxes))
        expected = f"one tracked through more than {MIN_BOXES}, wider or higher than {MIN_SIDE:.0f} pixels"
        return f"a face in {n_with_face} of {len(self._boxes)} frames (at {FRAME_RATE} a second); expected {expected}"


def score_face(
    network: SyncNet, faces: Iterable[np.ndarray], sound: SoundWindows, device: torch.device
) -> SyncScore | None:
    """Compare the lips of one face with the sound.

    Args:
        network: SyncNet, on `device`.
        faces: batches of consecutive face crops from `crop_faces`, uint8 RGB (n, 224, 224, 3).
        sound: sound windows that start at the first of these frames.
        device: device to compute on.

    Returns:
        The score; None if fewer than six frames have sound.
    """
    distances = ShiftDistances()
    waiting = np.zeros((0, CROP_SIDE, CROP_SIDE, 3), np.uint8)
    for batch in faces:
        waiting = np.concatenate([waiting, batch])
        n_windows = len(waiting) - WINDOW_FRAMES
        coefficients = sound.next_windows(n_windows)
        if len(coefficients):
            frames = waiting[: len(coefficients) + WINDOW_FRAMES - 1]
            distances.add(*_embed(network, frames, coefficients, device))
            waiting = waiting[len(coefficients) :]
        if len(coefficients) < n_windows:
            break
    return distances.score()


def _embed(
    network: SyncNet, frames: np.ndarray, coefficients: np.ndarray, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.inference_mode():
        pixels = torch.from_numpy(frames).to(device).flip(-1)  # SyncNet was trained on BGR
        lips = network.embed_lips(pixels.permute(3, 0, 1, 2)[None].float())
        sound = network.embed_sound(torch.from_numpy(coefficients[:, None]).to(device))
        return lips[0].float(), sound.float()
