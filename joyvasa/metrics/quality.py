"""Picture and video quality as Q-Align's published model judges them: one frame a second."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from joyvasa.errors import EnvironmentFault
from joyvasa.metrics.base import Clip, Measurement, Metric, MetricColumn, MetricModels, NotMeasured, Values
from joyvasa.metrics.support import one_align
from joyvasa.metrics.support.q_align import QAlign, level_score

NEEDED_BYTES = 18 << 30  # of a device: 16.4 GB of weights in half precision, and what four frames take


class QualityMetric(Metric):
    """One frame a second goes to Q-Align, alone for `iqa` and all together for `vqa`.

    As in the published tools `iqa` averages the logits of the frames before they become a score. Where there are more
    frames than the model was made to read at once (about thirty with its 2048 tokens), `vqa` takes every second one,
    or every fourth ...
    """

    name = "quality"
    columns = (
        MetricColumn(
            "iqa",
            "IQA",
            "how good Q-Align finds the pictures, one a second, each on its own; 0 bad to 1 excellent",
            better="higher",
        ),
        MetricColumn("vqa", "VQA", "how good Q-Align finds the video; 0 bad to 1 excellent", better="higher"),
    )
    roles = one_align.ROLES
    license = "S-Lab 1.0, non-commercial (Q-Align)"

    # Frames through the model together. A frame is 65 tokens beside some thirty of the question, few for a GPU.
    BATCH_FRAMES = 4

    def setup(self, models: MetricModels) -> None:
        """Loads the model, in half precision.

        Raises:
            EnvironmentFault: `quality_needs_gpu`, or `sentencepiece_missing`.
            ModelError: a file is missing or damaged, or does not fit.
        """
        _check_device(models.device)
        tokenize = one_align.read_tokenizer(one_align.adjacent_file(models.bundle, one_align.TOKENIZER))
        self._judge = QAlign(one_align.load_one_align(models.bundle, models.device, torch.float16), tokenize)

    def start(self, clip: Clip) -> Measurement:
        """Begins."""
        return _QualityMeasurement(self._judge, clip.frames_per_second, self.BATCH_FRAMES)


class SecondSampler:
    """Frames that begin whole seconds, as many as there are whole seconds; the first frame if there is none.

    Args:
        frames_per_second: of the video; where it is below 1, every frame counts once.
    """

    def __init__(self, frames_per_second: float) -> None:
        self._rate = max(1.0, frames_per_second)
        self._n_frames, self._second = 0, 0
        self._candidate: np.ndarray | None = None  # counts once its second is over

    def select(self, frames: np.ndarray) -> Iterator[np.ndarray]:
        """Takes the next frames; gives those that count."""
        for frame in frames:
            if int(self._rate * self._second) == self._n_frames:
                if self._candidate is not None:
                    yield self._candidate
                self._candidate = frame.copy()
                self._second += 1
            self._n_frames += 1

    def flush(self) -> Iterator[np.ndarray]:
        """What counts now that the video is over."""
        if self._candidate is not None and (self._second == 1 or int(self._n_frames / self._rate) >= self._second):
            yield self._candidate


class _QualityMeasurement(Measurement):
    """Holds the frames of a batch, and the tokens of as many frames as the model reads at once."""

    def __init__(self, judge: QAlign, frames_per_second: float, batch_frames: int) -> None:
        self._judge, self._batch_frames = judge, batch_frames
        self._seconds = SecondSampler(frames_per_second)
        self._waiting: list[np.ndarray] = []
        self._logits, self._n_frames = torch.zeros(5, dtype=torch.float64), 0
        self._seen: list[Tensor] = []
        self._every = 1  # of the frames is kept in `_seen`

    def update(self, frames: np.ndarray) -> None:
        """Judges the frames that begin a second."""
        for frame in self._seconds.select(frames):
            self._add(frame)

    def finish(self) -> Values:
        """Both scores."""
        for frame in self._seconds.flush():
            self._add(frame)
        self._judge_waiting()
        if not self._n_frames:
            missing = NotMeasured("too_short", "the video has no frame; expected at least one")
            return {"iqa": missing, "vqa": missing}
        scores = {
            "iqa": level_score(self._logits / self._n_frames),
            "vqa": level_score(self._judge.video_logits(torch.stack(self._seen))),
        }
        return {name: float(score) for name, score in scores.items()}

    def _add(self, frame: np.ndarray) -> None:
        self._waiting.append(frame)
        if len(self._waiting) == self._batch_frames:
            self._judge_waiting()

    def _judge_waiting(self) -> None:
        if not self._waiting:
            return
        seen = self._judge.encode_frames(self._waiting)
        self._logits += self._judge.image_logits(seen).double().sum(0).cpu()
        self._waiting = []
        for tokens in seen:
            self._keep(tokens)

    def _keep(self, tokens: Tensor) -> None:
        """Keeps the tokens of a frame; every other one goes where there are too many."""
        if len(self._seen) == self._judge.max_video_frames and self._n_frames % self._every == 0:
            self._seen = self._seen[::2]
            self._every *= 2
        if self._n_frames % self._every == 0:
            self._seen.append(tokens.clone())
        self._n_frames += 1


def _check_device(device: torch.device) -> None:
    """Refuses a device on which a frame takes minutes, or which cannot hold the model."""
    if device.type == "cpu":
        raise EnvironmentFault(
            "quality_needs_gpu",
            f"Q-Align has 8.2 billion weights and takes minutes a frame on a CPU; expected a GPU with "
            f"{NEEDED_BYTES >> 30} GiB free: score on one, or leave the metric quality out",
        )
    if device.type == "cuda" and (free := torch.cuda.mem_get_info(device)[0]) < NEEDED_BYTES:
        raise EnvironmentFault(
            "quality_needs_gpu",
            f"{device} has {free / 2**30:.0f} GiB free; Q-Align needs {NEEDED_BYTES >> 30} GiB: use a larger GPU, or "
            "leave the metric quality out",
        )
