"""Small ONNX files with given outputs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_network(path: Path, outputs: Sequence[np.ndarray], shape: Sequence[int | str], reaction: float = 0.0) -> Path:
    """Write an ONNX file that returns `outputs` plus `reaction` times the maximum of the red channel."""
    nodes = [
        helper.make_node("Gather", ["input", "channel"], ["red"], axis=1),
        helper.make_node("ReduceMax", ["red"], ["peak"], keepdims=0),
        # The library infers from these names of the first nodes that the input range is 0 to 255.
        helper.make_node("Sub", ["peak", "zero"], ["level"], name="Sub"),
        helper.make_node("Mul", ["level", "reaction"], ["shift"], name="Mul"),
    ]
    constants = [
        numpy_helper.from_array(np.array(0, dtype=np.int64), "channel"),
        numpy_helper.from_array(np.array(0, dtype=np.float32), "zero"),
        numpy_helper.from_array(np.array(reaction, dtype=np.float32), "reaction"),
    ]

    declared = []
    for number, values in enumerate(outputs):
        constants.append(numpy_helper.from_array(values.astype(np.float32), f"planted{number}"))
        nodes.append(helper.make_node("Add", [f"planted{number}", "shift"], [f"output{number}"]))
        declared.append(helper.make_tensor_value_info(f"output{number}", TensorProto.FLOAT, values.shape))

    entry = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "planted", [entry], declared, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path
