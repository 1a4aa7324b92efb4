"""Motion smoothness of VBench: how well every other frame can be interpolated from its neighbors."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor

from joyvasa.errors import InputError
from joyvasa.metrics.base import Clip, Measurement, Metric, MetricColumn, MetricModels, Values

if TYPE_CHECKING:
    from joyvasa.networks.metrics.amt import Amt

MULTIPLE = 16  # pixels; frame sides are padded to a multiple of it
MIN_SIDE = 128  # pixels, of the padded frame; below, the coarsest correlations are one pixel wide
MAX_PIXELS = 4096 * 2304  # per frame; the network needs about 1 kB per pixel


class SmoothnessMetric(Metric):
    """Difference between every other frame and its interpolation from the neighboring frames by AMT-S.

    VBench scales frames down to fit the GPU; here frames are never scaled, so that the value does not depend on the
    GPU. For 512x512 pixels both are the same.
    """

    name = "smoothness"
    columns = (
        MetricColumn(
            "smooth",
            "Smooth",
            "similarity of every other frame and its interpolation by AMT-S from the neighboring frames; "
            "1 for a still picture, so read it together with the range of the motion",
            better="higher",
        ),
    )
    roles = ("amt_s",)
    license = "CC BY-NC 4.0 (AMT)"

    # Pixels per batch: four pairs of 512x512, which need about 1 GB.
    BATCH_PIXELS = 4 * 512 * 512

    def setup(self, models: MetricModels) -> None:
        """Load AMT-S."""
        self._network = cast("Amt", models.bundle.load_network("amt_s", models.device))
        self._device = models.device

    def start(self, clip: Clip) -> Measurement:
        """Start a measurement; frame sizes that the network does not support have no value."""
        size = f"frames of {clip.width}x{clip.height} pixels"
        if min(_padded(clip.width), _padded(clip.height)) < MIN_SIDE:
            sentence = f"{size}; expected at least {MIN_SIDE - MULTIPLE + 1} a side"
            raise InputError("frame_too_small", sentence)
        if clip.width * clip.height > MAX_PIXELS:
            sentence = f"{size}; expected at most {MAX_PIXELS / 1e6:.1f} megapixels"
            raise InputError("frame_too_large", sentence)
        pairs = max(1, self.BATCH_PIXELS // (clip.width * clip.height))
        return _SmoothnessMeasurement(self._network, self._device, pairs)


class _SmoothnessMeasurement(Measurement):
    """Holds two frames and a small batch of triples."""

    def __init__(self, network: Amt, device: torch.device, batch_pairs: int) -> None:
        self._network, self._device, self._batch_pairs = network, device, batch_pairs
        self._n_frames = 0
        self._waiting: list[np.ndarray] = []  # the first frame of a triple, then the second
        self._triples: list[np.ndarray] = []
        self._difference, self._n_pairs = 0.0, 0

    def update(self, frames: np.ndarray) -> None:
        """Interpolate complete triples."""
        for frame in frames:
            self._n_frames += 1
            if len(self._waiting) == 2:
                self._triples.append(np.stack([*self._waiting, frame]))
                self._waiting = []
            self._waiting.append(frame.copy())  # a view would keep the whole batch alive
            if len(self._triples) == self._batch_pairs:
                self._compare()

    def finish(self) -> Values:
        """Return the score; an odd frame at the end is ignored."""
        if self._triples:
            self._compare()
        if not self._n_pairs:
            sentence = f"the video has {self._n_frames} frames; expected at least 3"
            raise InputError("too_short", sentence)
        return {"smooth": (255 - self._difference / self._n_pairs) / 255}

    def _compare(self) -> None:
        """Add the mean absolute difference of each triple, in gray levels."""
        triples = torch.from_numpy(np.stack(self._triples)).to(self._device)
        self._triples = []
        interpolated = interpolate_frames(self._network, triples[:, 0], triples[:, 2])
        differences = (triples[:, 1].int() - interpolated.int()).abs().double().mean((1, 2, 3))
        self._difference += float(differences.sum())
        self._n_pairs += len(differences)


@torch.inference_mode()
def interpolate_frames(network: Amt, first: Tensor, second: Tensor) -> Tensor:
    """Interpolate the frames halfway between pairs of frames with AMT, rounded down as in VBench.

    All frames are uint8 RGB, shape (n, height, width, 3), with padded sides of at least `MIN_SIDE`.
    """
    height, width = first.shape[1:3]
    rows, columns = _padded(height) - height, _padded(width) - width
    top, left = rows // 2, columns // 2
    padding = (left, columns - left, top, rows - top)
    ends = [F.pad(images.permute(0, 3, 1, 2) / 255, padding, mode="replicate") for images in (first, second)]
    middle = network(*ends).image[..., top : top + height, left : left + width]
    return (middle * 255).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def _padded(side: int) -> int:
    return -(-side // MULTIPLE) * MULTIPLE
