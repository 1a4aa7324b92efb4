"""Picture and video quality rated by Q-Align's published model, one frame per second."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from joyvasa.errors import EnvironmentFault
from joyvasa.metrics.base import Clip, Measurement, Metric, MetricColumn, MetricModels, NotMeasured, Values
from joyvasa.metrics.support import one_align
from joyvasa.metrics.support.q_align import QAlign, level_score

NEEDED_BYTES = 18 << 30  # device memory: 16.4 GB of weights in half precision, plus activations for four frames


class QualityMetric(Metric):
    """Q-Align scores from one frame per second: each frame alone for `iqa`, all frames together for `vqa`.

    As in the published tools, `iqa` averages the logits of the frames before converting them to a score. If there are
    more frames than the model can read at once (about thirty in its 2048 tokens), `vqa` uses every second frame, every
    fourth, and so on.
    """

    name = "quality"
    columns = (
        MetricColumn(
            "iqa",
            "IQA",
            "Q-Align's rating of single frames, one per second; 0 bad to 1 excellent",
            better="higher",
        ),
        MetricColumn("vqa", "VQA", "Q-Align's rating of the video; 0 bad to 1 excellent", better="higher"),
    )
    roles = one_align.ROLES
    license = "S-Lab 1.0, non-commercial (Q-Align)"

    # A frame is 65 tokens in addition to some thirty of the question, few for a GPU.
    BATCH_FRAMES = 4

    def setup(self, models: MetricModels) -> None:
        """Load the model in half precision.

        Raises:
            EnvironmentFault: `quality_needs_gpu`, or `sentencepiece_missing`.
            ModelError: a file is missing or damaged, or has the wrong shape.
        """
        _check_device(models.device)
        tokenize = one_align.read_tokenizer(one_align.adjacent_file(models.bundle, one_align.TOKENIZER))
        self._model = QAlign(one_align.load_one_align(models.bundle, models.device, torch.float16), tokenize)

    def start(self, clip: Clip) -> Measurement:
        """Start the measurement of a clip; see `Metric`."""
        return _QualityMeasurement(self._model, clip.frames_per_second, self.BATCH_FRAMES)


class SecondSampler:
    """Selects the first frame of each complete second; the first frame of the video if there is none.

    Args:
        frames_per_second: frame rate of the video; below 1, every frame is selected once.
    """

    def __init__(self, frames_per_second: float) -> None:
        self._rate = max(1.0, frames_per_second)
        self._n_frames, self._second = 0, 0
        self._candidate: np.ndarray | None = None  # selected once its second is complete

    def select(self, frames: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the selected ones of the next frames."""
        for frame in frames:
            if int(self._rate * self._second) == self._n_frames:
                if self._candidate is not None:
                    yield self._candidate
                self._candidate = frame.copy()
                self._second += 1
            self._n_frames += 1

    def flush(self) -> Iterator[np.ndarray]:
        """Yield the last selected frame, if any, after the end of the video."""
        if self._candidate is not None and (self._second == 1 or int(self._n_frames / self._rate) >= self._second):
            yield self._candidate


class _QualityMeasurement(Measurement):
    """Holds the frames of a batch, and the tokens of as many frames as the model can read at once."""

    def __init__(self, model: QAlign, frames_per_second: float, batch_frames: int) -> None:
        self._model, self._batch_frames = model, batch_frames
        self._seconds = SecondSampler(frames_per_second)
        self._waiting: list[np.ndarray] = []
        self._logits, self._n_frames = torch.zeros(5, dtype=torch.float64), 0
        self._tokens: list[Tensor] = []
        self._stride = 1  # stride of the frames in `_tokens`

    def update(self, frames: np.ndarray) -> None:
        """Rate the first frame of each second."""
        for frame in self._seconds.select(frames):
            self._add(frame)

    def finish(self) -> Values:
        """Return both scores."""
        for frame in self._seconds.flush():
            self._add(frame)
        self._rate_waiting()
        if not self._n_frames:
            reason = NotMeasured("too_short", "the video has no frame; expected at least one")
            return {"iqa": reason, "vqa": reason}
        scores = {
            "iqa": level_score(self._logits / self._n_frames),
            "vqa": level_score(self._model.video_logits(torch.stack(self._tokens))),
        }
        return {name: float(score) for name, score in scores.items()}

    def _add(self, frame: np.ndarray) -> None:
        self._waiting.append(frame)
        if len(self._waiting) == self._batch_frames:
            self._rate_waiting()

    def _rate_waiting(self) -> None:
        if not self._waiting:
            return
        batch = self._model.encode_frames(self._waiting)
        self._logits += self._model.image_logits(batch).double().sum(0).cpu()
        self._waiting = []
        for tokens in batch:
            self._add_tokens(tokens)

    def _add_tokens(self, tokens: Tensor) -> None:
        """Store the tokens of a frame; drop every other frame if there are too many."""
        if len(self._tokens) == self._model.max_video_frames and self._n_frames % self._stride == 0:
            self._tokens = self._tokens[::2]
            self._stride *= 2
        if self._n_frames % self._stride == 0:
            self._tokens.append(tokens.clone())
        self._n_frames += 1


def _check_device(device: torch.device) -> None:
    """Reject CPUs, on which a frame takes minutes, and GPUs with too little memory."""
    if device.type == "cpu":
        raise EnvironmentFault(
            "quality_needs_gpu",
            f"Q-Align has 8.2 billion weights and takes minutes per frame on a CPU; expected a GPU with "
            f"{NEEDED_BYTES >> 30} GiB free: score on one, or omit the metric quality",
        )
    if device.type == "cuda" and (free := torch.cuda.mem_get_info(device)[0]) < NEEDED_BYTES:
        raise EnvironmentFault(
            "quality_needs_gpu",
            f"{device} has {free / 2**30:.0f} GiB free; Q-Align needs {NEEDED_BYTES >> 30} GiB: use a larger GPU, or "
            "omit the metric quality",
        )
