"""Checkpoints: everything needed to resume a run, in one safetensors file that is written atomically.

    checkpoints/00012000.safetensors

Tensors: `model.*`, the state of the optimizer (`adam.*`, `average.*`) and `template.*`, the statistics of the data
set. The metadata entry `training` holds JSON: the step, the validation loss, the options, and more. Random numbers and
the position in the data follow from the seed and the step, so they have no state to save.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from joyvasa.errors import ModelError, first_line
from joyvasa.runtime.parsing import parse_json
from joyvasa.training.file_store import FileStore

FOLDER = "checkpoints"
FORMAT, VERSION = "joyvasa-training", "1"
MAX_HEADER_BYTES = 1 << 26


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """Progress of a training run."""

    step: int  # number of finished steps
    validation_loss: float | None = None  # validation loss of the weights; None if it was not measured
    dataset: str = ""  # fingerprint of the data set
    config: Mapping[str, Any] = field(default_factory=dict)  # options of the run, as plain values
    scaler: Mapping[str, float] = field(default_factory=dict)  # state of the gradient scaler for fp16
    pictures_epoch: int = 0  # last epoch whose generated motion was plotted


class Checkpoints:
    """The checkpoints of a run."""

    def __init__(self, files: FileStore) -> None:
        self.files = files

    def steps(self) -> list[int]:
        """Return the steps that have a checkpoint, oldest first."""
        matches = (re.fullmatch(r"(\d{8,})\.safetensors", name) for name in self.files.names(FOLDER))
        return sorted(int(match[1]) for match in matches if match)

    def remove_partial(self) -> None:
        """Remove partial files that a killed process left behind."""
        for name in self.files.names(FOLDER):
            if name.startswith("."):
                self.files.remove(f"{FOLDER}/{name}")

    def best_step(self) -> int | None:
        """Return the step with the lowest finite validation loss, else the newest step; None without checkpoints."""
        steps = self.steps()
        validated = ((step, self.read_progress(step).validation_loss) for step in steps)
        losses = {step: loss for step, loss in validated if loss is not None and math.isfinite(loss)}
        if not losses:
            return steps[-1] if steps else None
        return min(losses, key=lambda step: (losses[step], step))

    def save(self, progress: TrainingProgress, tensors: Mapping[str, Tensor], *, keep: int) -> None:
        """Write a checkpoint and remove older ones, except for the `keep` newest and the best."""
        from safetensors.torch import save_file

        # clone: the format does not store tensors that share memory
        plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
        metadata = {"format": FORMAT, "format_version": VERSION, "training": json.dumps(asdict(progress))}
        with self.files.staging(_path(progress.step)) as path:
            save_file(plain, path, metadata)
            path.chmod(0o644)  # safetensors creates private files

        best = self.best_step()
        for step in self.steps()[:-keep]:
            if step != best:
                self.files.remove(_path(step))

    def read_progress(self, step: int) -> TrainingProgress:
        """Return the progress stored in a checkpoint; reads only the header of the file.

        Raises:
            ModelError: `checkpoint_damaged`.
        """
        try:
            with self.files.open(_path(step)) as stream:
                length = int.from_bytes(stream.read(8), "little")
                if length > MAX_HEADER_BYTES:
                    raise ValueError("its header is too long")
                metadata = parse_json(stream.read(length))["__metadata__"]
            return self._parse_progress(step, metadata)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(step, error) from None

    def load(self, step: int) -> tuple[TrainingProgress, dict[str, Tensor]]:
        """Return the progress and the tensors of a checkpoint, by name, on the CPU.

        Raises:
            ModelError: `checkpoint_damaged`.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        progress = self.read_progress(step)
        try:
            return progress, load(self.files.read(_path(step)))
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            raise self._damaged(step, error) from None

    def _parse_progress(self, step: int, metadata: Mapping[str, str]) -> TrainingProgress:
        if (metadata.get("format"), metadata.get("format_version")) != (FORMAT, VERSION):
            raise ValueError("not a checkpoint of this program")
        progress = TrainingProgress(**parse_json(metadata["training"]))
        if progress.step != step:
            raise ValueError(f"holds step {progress.step}")
        return progress

    def _damaged(self, step: int, error: BaseException) -> ModelError:
        return ModelError(
            "checkpoint_damaged",
            f"{self.files.location(_path(step))}: cannot be read ({first_line(error)[:160]}): remove it to resume from "
            "the previous one",
        )


def select_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names start with a prefix, without the prefix."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _path(step: int) -> str:
    return f"{FOLDER}/{step:08d}.safetensors"
