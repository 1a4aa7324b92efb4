"""Checkpoints: all that a run needs to go on, in one safetensors file that appears whole or not at all.

    checkpoints/00012000.safetensors

Tensors: `model.*`, what the optimizer needs (`adam.*`, `average.*`) and `template.*`, the statistics of the data
set. The metadata entry `training` holds JSON: the step, the validation loss, the options, and more. Random numbers and
the position in the data follow from the seed and the step, so there is no state of theirs to be kept.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from joyvasa.errors import ModelError
from joyvasa.training.file_store import FileStore

FOLDER = "checkpoints"
FORMAT, VERSION = "joyvasa-training", "1"
MAX_HEADER_BYTES = 1 << 26


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """Where a run stands.

    Args:
        step: steps that are done.
        validation_loss: of these weights; None if there is nothing to validate with.
        dataset: fingerprint of the data set.
        config: options of the run, as plain values.
        scaler: of fp16.
        pictures_epoch: last epoch whose generated motion was plotted.
    """

    step: int
    validation_loss: float | None = None
    dataset: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    scaler: Mapping[str, float] = field(default_factory=dict)
    pictures_epoch: int = 0


class Checkpoints:
    """The checkpoints of a run.

    Args:
        files: of the run.
    """

    def __init__(self, files: FileStore) -> None:
        self.files = files

    def steps(self) -> list[int]:
        """Steps of which there is a checkpoint, oldest first."""
        matches = (re.fullmatch(r"(\d{8,})\.safetensors", name) for name in self.files.names(FOLDER))
        return sorted(int(match[1]) for match in matches if match)

    def clean(self) -> None:
        """Removes what a process left that was killed while it wrote."""
        for name in self.files.names(FOLDER):
            if name.startswith("."):
                self.files.remove(f"{FOLDER}/{name}")

    def best(self) -> int | None:
        """The step with the least validation loss; the newest where no loss is finite; None if there is none."""
        steps = self.steps()
        validated = ((step, self.progress(step).validation_loss) for step in steps)
        losses = {step: loss for step, loss in validated if loss is not None and math.isfinite(loss)}
        if not losses:
            return steps[-1] if steps else None
        return min(losses, key=lambda step: (losses[step], step))

    def save(self, progress: TrainingProgress, tensors: Mapping[str, Tensor], *, keep: int) -> None:
        """Writes a checkpoint, then removes those that are neither among the newest nor the best.

        Args:
            progress: where the run stands.
            tensors: by name.
            keep: newest checkpoints that stay.
        """
        from safetensors.torch import save_file

        # clone: the format takes no tensors that share memory
        plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
        told = {"format": FORMAT, "format_version": VERSION, "training": json.dumps(asdict(progress))}
        with self.files.staging(_path(progress.step)) as path:
            save_file(plain, path, told)
            path.chmod(0o644)  # safetensors makes private files
        best = self.best()
        for step in self.steps()[:-keep]:
            if step != best:
                self.files.remove(_path(step))

    def progress(self, step: int) -> TrainingProgress:
        """Where the run stood at a checkpoint; reads the head of the file alone.

        Raises:
            ModelError: `checkpoint_damaged`.
        """
        try:
            with self.files.open(_path(step)) as stream:
                length = int.from_bytes(stream.read(8), "little")
                if length > MAX_HEADER_BYTES:
                    raise ValueError("its header is too long")
                told = json.loads(stream.read(length))["__metadata__"]
            return self._progress(step, told)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self._damaged(step, error) from None

    def load(self, step: int) -> tuple[TrainingProgress, dict[str, Tensor]]:
        """A checkpoint: where the run stood, and tensors by name, on the CPU.

        Raises:
            ModelError: `checkpoint_damaged`.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        progress = self.progress(step)
        try:
            return progress, load(self.files.read(_path(step)))
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            raise self._damaged(step, error) from None

    def _progress(self, step: int, told: Mapping[str, str]) -> TrainingProgress:
        if (told.get("format"), told.get("format_version")) != (FORMAT, VERSION):
            raise ValueError("not a checkpoint of this program")
        progress = TrainingProgress(**json.loads(told["training"]))
        if progress.step != step:
            raise ValueError(f"holds step {progress.step}")
        return progress

    def _damaged(self, step: int, error: BaseException) -> ModelError:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        return ModelError(
            "checkpoint_damaged",
            f"{self.files.location(_path(step))}: cannot be read ({reason}): remove it to go on from the one before",
        )


def _path(step: int) -> str:
    return f"{FOLDER}/{step:08d}.safetensors"
