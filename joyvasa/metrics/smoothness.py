"""Motion smoothness as VBench scores it: how well the frames left out can be guessed from those beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor

from joyvasa.metrics.base import Clip, FixedMeasurement, Measurement, Metric, MetricColumn, MetricModels, Values

if TYPE_CHECKING:
    from joyvasa.networks.metrics.amt import Amt

MULTIPLE = 16  # of the sides that the network takes, pixels
MIN_SIDE = 128  # of the padded picture; with less the coarsest correlations are one pixel wide
MAX_PIXELS = 4096 * 2304  # of a frame; the network needs about 1 kB a pixel


class SmoothnessMetric(Metric):
    """Every other frame is interpolated by AMT-S from its neighbours and compared with the real one.

    VBench scales frames down to what a graphics card holds; here they are never scaled, so that the number does not
    depend on the card. For 512x512 pixels the two are the same.
    """

    name = "smoothness"
    columns = (
        MetricColumn(
            "smooth",
            "Smooth",
            "how near every other frame is to what AMT-S interpolates from the frames beside it; "
            "1 for a still picture, so read it together with the range of the motion",
            better="higher",
        ),
    )
    roles = ("amt_s",)
    license = "CC BY-NC 4.0 (AMT)"

    # Of the pairs in one batch: four of 512x512, so that a GPU has work; they take about 1 GB.
    BATCH_PIXELS = 4 * 512 * 512

    def setup(self, models: MetricModels) -> None:
        """Loads AMT-S."""
        self._network = cast("Amt", models.bundle.load_network("amt_s", models.device))
        self._device = models.device

    def start(self, clip: Clip) -> Measurement:
        """Begins; there is no number for frames that the network cannot take."""
        size = f"frames of {clip.width}x{clip.height} pixels"
        if min(_padded(clip.width), _padded(clip.height)) < MIN_SIDE:
            sentence = f"{size}; expected at least {MIN_SIDE - MULTIPLE + 1} a side"
            return FixedMeasurement(self.all_missing("frame_too_small", sentence))
        if clip.width * clip.height > MAX_PIXELS:
            sentence = f"{size}; expected at most {MAX_PIXELS / 1e6:.1f} megapixels"
            return FixedMeasurement(self.all_missing("frame_too_large", sentence))
        pairs = max(1, self.BATCH_PIXELS // (clip.width * clip.height))
        return _SmoothnessMeasurement(self, self._network, self._device, pairs)


class _SmoothnessMeasurement(Measurement):
    """Holds two frames and a small batch of triples."""

    def __init__(self, metric: SmoothnessMetric, network: Amt, device: torch.device, batch_pairs: int) -> None:
        self._metric, self._network, self._device, self._batch_pairs = metric, network, device, batch_pairs
        self._n_frames = 0
        self._waiting: list[np.ndarray] = []  # a frame to interpolate from, then the one after it
        self._triples: list[np.ndarray] = []
        self._difference, self._n_pairs = 0.0, 0

    def update(self, frames: np.ndarray) -> None:
        """Interpolates what is complete."""
        for frame in frames:
            self._n_frames += 1
            if len(self._waiting) == 2:
                self._triples.append(np.stack([*self._waiting, frame]))
                self._waiting = []
            self._waiting.append(frame.copy())  # a view would keep the whole batch of the reader
            if len(self._triples) == self._batch_pairs:
                self._compare()

    def finish(self) -> Values:
        """The score; an odd frame at the end has no partner and does not count."""
        if self._triples:
            self._compare()
        if not self._n_pairs:
            sentence = f"the video has {self._n_frames} frames; expected at least 3"
            return self._metric.all_missing("too_short", sentence)
        return {"smooth": (255 - self._difference / self._n_pairs) / 255}

    def _compare(self) -> None:
        """Adds the mean absolute difference of each triple, grey levels."""
        triples = torch.from_numpy(np.stack(self._triples)).to(self._device)
        self._triples = []
        between = interpolate(self._network, triples[:, 0], triples[:, 2])
        differences = (triples[:, 1].int() - between.int()).abs().double().mean((1, 2, 3))
        self._difference += float(differences.sum())
        self._n_pairs += len(differences)


@torch.inference_mode()
def interpolate(network: Amt, first: Tensor, second: Tensor) -> Tensor:
    """Pictures half-way between pictures.

    Args:
        network: AMT.
        first: uint8 RGB, shape (n, height, width, 3); padded sides of at least `MIN_SIDE`.
        second: the same.

    Returns:
        The same type and shape; fractions of a grey level are cut off, as VBench does.
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
