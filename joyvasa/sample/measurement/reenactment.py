"""Reenactment of real frames: one frame of a video is driven to another by the keypoints of M."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from joyvasa.metrics.first_frame import psnr, ssim
from joyvasa.models import Models
from joyvasa.networks.pictures import to_network_input
from joyvasa.sample.measurement.subjects import face_slices
from joyvasa.sample.measurement.table import Bar, Row, mean_row
from joyvasa.sample.measurement.tracks import Track
from joyvasa.sample.training.training_media import SIZE

PAIRS = 12  # per video
DISTANCE = 0.37  # between source and driven frame, in lengths of the video
MARGIN = 0.1  # around the teacher's mesh, in sides of its box
MIN_GAIN = Bar("above", 0.0)


@torch.inference_mode()
def reenactment_rows(tracks: Sequence[Track], models: Models) -> list[Row]:
    """Return the scores of the model minus those of copying the source."""
    gains: dict[str, np.ndarray] = {}
    for track in tracks:
        pairs = choose_frame_pairs(len(track.frames))
        scores = np.array([_score_pair(track, models, source, driven) for source, driven in pairs])
        gains[track.name] = scores[:, 0].mean(0) - scores[:, 1].mean(0)  # (PSNR or SSIM,)
    psnr_gains, ssim_gains = ({name: float(gain[n]) for name, gain in gains.items()} for n in (0, 1))
    description = "Real pairs of frames driven by M: face PSNR above that of copying the source"
    shared: Any = {"inputs": f"videos, {PAIRS} pairs each", "worst": min}
    return [
        mean_row("reenactment_psnr_gain", description, psnr_gains, "dB", MIN_GAIN, **shared),
        mean_row("reenactment_ssim_gain", "The same, face SSIM", ssim_gains, "", MIN_GAIN, **shared),
    ]


def choose_frame_pairs(n_frames: int) -> list[tuple[int, int]]:
    """Return source and driven frame of each pair, spread evenly over a video."""
    distance = max(1, round(DISTANCE * n_frames))
    return [(start, (start + distance) % n_frames) for start in (np.arange(PAIRS) * n_frames // PAIRS).tolist()]


def _score_pair(
    track: Track, models: Models, source: int, driven: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return PSNR and SSIM of the model, and of copying the source."""
    feature = models.network("appearance_feature_extractor")(to_network_input(track.frames[source], SIZE))
    points = track.keypoints
    picture = models.renderer.render(feature, points[source : source + 1], points[driven : driven + 1])[0].numpy()
    face = face_slices(track.meshes[driven], MARGIN)
    target = track.frames[driven][face]
    model, copied = picture[face], track.frames[source][face]
    return (psnr(model, target), ssim(model, target)), (psnr(copied, target), ssim(copied, target))
