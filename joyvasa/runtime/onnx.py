"""A network in an ONNX file, through ONNX Runtime, checked to be the one that is expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from joyvasa.errors import ModelError


class OnnxNetwork:
    """A session with one input. Threads may share it.

    Attributes:
        session: ONNX Runtime's session.

    Args:
        path: the file.
        device: `cpu`, `cuda` or `cuda:N`. Where ONNX Runtime was built without CUDA it works on the CPU.
        shape: of an input that is tried out.
        outputs: how many numbers each output that is used holds for that input, by its place.
        threads: on the CPU; 0: as many as ONNX Runtime likes.

    Raises:
        ModelError: `model_damaged`, or `model_mismatch` for a network of another kind.
    """

    def __init__(
        self, path: Path, *, device: str, shape: Sequence[int], outputs: Mapping[int, int], threads: int
    ) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only: they come back as exceptions
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        providers: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
        kind, _, number = device.partition(":")
        if kind == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": number or "0"}))
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # ONNX Runtime's exceptions share no public base class
            reason = str(error).splitlines()[0]
            sentence = f"{path}: ONNX Runtime cannot load it ({reason}): get it again"
            raise ModelError("model_damaged", sentence) from error
        inputs = self.session.get_inputs()
        self._input = inputs[0].name if inputs else ""
        try:
            sizes = [output.size for output in self(np.zeros(tuple(shape), dtype=np.float32))]
        except Exception as error:
            reason = str(error).splitlines()[0]
            sentence = f"{path}: does not take an input of shape {tuple(shape)} ({reason}): put the right file there"
            raise ModelError("model_mismatch", sentence) from error
        if any(place >= len(sizes) or sizes[place] != size for place, size in outputs.items()):
            expected = ", ".join(f"{size} as number {place}" for place, size in outputs.items())
            sentence = f"{path}: outputs of sizes {sizes} found; expected {expected}: put the right file there"
            raise ModelError("model_mismatch", sentence)

    def __call__(self, blob: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """All outputs for one input."""
        return self.session.run(None, {self._input: blob})  # pyright: ignore[reportReturnType]
