"""Pairs of frames of real videos: one is driven to the other by the keypoints that M finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from joyvasa.metrics.first_frame import psnr, ssim
from joyvasa.models import Models
from joyvasa.rendering.renderer import to_network_input
from joyvasa.sample.measurement.table import Bar, Row, mean_row
from joyvasa.sample.measurement.tracks import Track
from joyvasa.sample.training.pictures import SIZE

PAIRS = 12  # of each video
APART = 0.37  # of the video, between source and driven frame
MARGIN = 0.1  # around the teacher's mesh, of its size: what is compared
BETTER = Bar("above", 0.0)


@torch.inference_mode()
def reenactment_rows(tracks: Sequence[Track], models: Models) -> list[Row]:
    """Figures of the model less those of copying the source."""
    gains: dict[str, np.ndarray] = {}
    for track in tracks:
        scores = np.array([_pair(track, models, source, driven) for source, driven in pairs_of(len(track.frames))])
        gains[track.name] = scores[:, 0].mean(0) - scores[:, 1].mean(0)  # (PSNR or SSIM,)
    psnr_gains, ssim_gains = ({name: float(gain[n]) for name, gain in gains.items()} for n in (0, 1))
    what = "Real pairs of frames driven by M: face PSNR above that of copying the source"
    shared: Any = {"inputs": f"videos, {PAIRS} pairs each", "worst": min}
    return [
        mean_row("reenactment_psnr_gain", what, psnr_gains, "dB", BETTER, **shared),
        mean_row("reenactment_ssim_gain", "the same, face SSIM", ssim_gains, "", BETTER, **shared),
    ]


def pairs_of(n_frames: int) -> list[tuple[int, int]]:
    """Source and driven frame of each pair, spread evenly over a video."""
    apart = max(1, round(APART * n_frames))
    return [(start, (start + apart) % n_frames) for start in (np.arange(PAIRS) * n_frames // PAIRS).tolist()]


def _pair(track: Track, models: Models, source: int, driven: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """PSNR and SSIM of the model and of copying."""
    feature = models.network("appearance_feature_extractor")(to_network_input(track.frames[source], SIZE))
    points = track.keypoints
    picture = models.renderer.render(feature, points[source : source + 1], points[driven : driven + 1])[0].numpy()
    face = face_part(track.meshes[driven])
    target = track.frames[driven][face]
    model, copied = picture[face], track.frames[source][face]
    return (psnr(model, target), ssim(model, target)), (psnr(copied, target), ssim(copied, target))


def face_part(mesh: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of a frame that show the face."""
    low, high = mesh[:, :2].min(0), mesh[:, :2].max(0)
    margin = MARGIN * (high - low)
    left, top = np.floor((low - margin).clip(0, SIZE)).astype(int)
    right, bottom = np.ceil((high + margin).clip(0, SIZE)).astype(int)
    return slice(top, bottom), slice(left, right)
