"""Segmentation of a person from the background."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from scipy.special import expit

from joyvasa.media.image import Image
from joyvasa.sample.training.litert import LitertNetwork, find_network_file

INPUT_SIZE = 256  # pixels
MODEL = "modules/selfie_segmentation/selfie_segmentation.tflite"


class PersonSegmenter:
    """Run the segmentation network of the package `mediapipe` 0.10.14 (Apache-2.0) with LiteRT on the CPU.

    The last layer, a transposed convolution of 2x2 with stride 2, is a custom operation that only MediaPipe's own
    runtime supports. It is removed from the network and computed here.

    Raises:
        EnvironmentFault: `extra_missing`.
    """

    def __init__(self) -> None:
        content, self._kernel, self._bias = _without_last_layer(find_network_file("mediapipe", MODEL).read_bytes())
        self._network = LitertNetwork(content)

    def segment(self, image: Image) -> np.ndarray:
        """Return the person mask, float32 (H, W) in 0 to 1.

        Args:
            image: uint8 RGB (H, W, 3), approximately square, with the head in its center.
        """
        height, width = image.shape[:2]
        resized = cv2.resize(image, (INPUT_SIZE, INPUT_SIZE), interpolation=cv2.INTER_AREA)
        features = self._network.run(resized.astype(np.float32) / 255)[0][0]  # (128, 128, 16)
        upsampled = np.einsum("yxc,ijc->yixj", features, self._kernel)
        logits = upsampled.reshape(INPUT_SIZE, INPUT_SIZE) + self._bias
        return cv2.resize(expit(logits), (width, height), interpolation=cv2.INTER_LINEAR)


def _without_last_layer(content: bytes) -> tuple[bytes, np.ndarray, float]:
    """Return the network without its transposed convolution and sigmoid, the kernel (2, 2, C) and the bias."""
    import flatbuffers  # pyright: ignore[reportMissingImports, reportMissingModuleSource]
    from ai_edge_litert import schema_py_generated as schema  # pyright: ignore[reportMissingImports]

    model: Any = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    custom = [bool(model.operatorCodes[operator.opcodeIndex].customCode) for operator in graph.operators]
    last = graph.operators[custom.index(True)]
    producers = {int(operator.outputs[0]): operator for operator in graph.operators}

    def constant(tensor: int) -> np.ndarray:
        stored = graph.tensors[int(producers[tensor].inputs[0])]  # half precision, dequantized by one operation
        return np.frombuffer(bytes(model.buffers[stored.buffer].data), np.float16).reshape(stored.shape)

    features, kernel, bias = (int(tensor) for tensor in last.inputs)
    weights, offset = constant(kernel)[0].astype(np.float32), float(constant(bias)[0])
    graph.operators = [o for o, is_custom in zip(graph.operators, custom, strict=True) if not is_custom]
    graph.operators = [o for o in graph.operators if int(last.outputs[0]) not in o.inputs]
    graph.outputs = np.array([features], np.int32)

    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output()), weights, offset
