"""Run networks from ONNX files with ONNX Runtime, and check that a file is the expected network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from joyvasa.errors import ModelError, first_line


class OnnxNetwork:
    """Network with one input, on as many CPU threads as PyTorch uses. Threads may share it.

    Attributes:
        session: session of ONNX Runtime.

    Args:
        path: path of the ONNX file.
        device: `cpu`, `cuda` or `cuda:N`; the CPU is used if ONNX Runtime was built without CUDA.
        shape: shape of a test input.
        outputs: expected number of elements of outputs for the test input, by index of the output.

    Raises:
        ModelError: `model_damaged`, or `model_mismatch` for a network of another kind.
    """

    def __init__(self, path: Path, *, device: str, shape: Sequence[int], outputs: Mapping[int, int]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only, which are raised as exceptions
        options.intra_op_num_threads = torch.get_num_threads()  # the limit of a worker
        options.inter_op_num_threads = 1
        providers: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
        kind, _, number = device.partition(":")
        if kind == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": number or "0"}))

        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # ONNX Runtime's exceptions share no public base class
            reason = first_line(error)
            sentence = f"{path}: ONNX Runtime cannot load it ({reason}): fetch it again"
            raise ModelError("model_damaged", sentence) from error

        inputs = self.session.get_inputs()
        self._input = inputs[0].name if inputs else ""
        try:
            sizes = [output.size for output in self(np.zeros(tuple(shape), dtype=np.float32))]
        except Exception as error:
            reason = first_line(error)
            sentence = f"{path}: does not accept an input of shape {tuple(shape)} ({reason}): put the right file there"
            raise ModelError("model_mismatch", sentence) from error

        if any(index >= len(sizes) or sizes[index] != size for index, size in outputs.items()):
            expected = ", ".join(f"{size} at index {index}" for index, size in outputs.items())
            sentence = f"{path}: outputs of sizes {sizes} found; expected {expected}: put the right file there"
            raise ModelError("model_mismatch", sentence)

    def __call__(self, blob: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Compute all outputs for one input."""
        return self.session.run(None, {self._input: blob})  # pyright: ignore[reportReturnType]
