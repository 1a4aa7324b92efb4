"""3x3 convolutions with a quarter of the multiplications, for CPUs and float32.

Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks": a square of 4x4 outputs is computed from 6x6
inputs with 36 products instead of 144.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from joyvasa.networks.cpu.dispatch import use_cpu_kernel

STEP, SIDE = 4, 6  # sides of a square of outputs and of its inputs
PRODUCTS = SIDE * SIDE
# Evaluation points of the polynomials behind the algorithm, in addition to infinity. The error is 2e-6 of the largest
# result; with 1 and 2, as in the paper, it is 8e-6.
POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)
BUFFER_BYTES = 32 << 20  # per strip of squares: larger strips exceed the cache, smaller ones make slow products
# Below these sizes the transforms cost more than the products save.
MIN_CHANNELS, MIN_CHANNEL_PAIRS, MIN_PIXELS = 128, 128 * 256, 32 * 32


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Apply `F.conv2d` with a 3x3 kernel and padding 1 by the algorithm that is fastest for sizes and device.

    Args:
        x: map, shape (batch, inputs, height, width).
        weight: kernels, shape (outputs, inputs, 3, 3).
        bias: bias, shape (outputs,).

    Returns:
        Result, shape (batch, outputs, height, width).
    """
    (outputs, inputs), (height, width) = weight.shape[:2], x.shape[2:]
    enough_channels = min(inputs, outputs) >= MIN_CHANNELS and inputs * outputs >= MIN_CHANNEL_PAIRS
    suitable_size = height % STEP == width % STEP == 0 and height * width >= MIN_PIXELS
    tensors = (x, weight) if bias is None else (x, weight, bias)
    if enough_channels and suitable_size and use_cpu_kernel(*tensors):
        return conv3x3_winograd(x, weight, bias)
    return F.conv2d(x, weight, bias, padding=1)


def conv3x3_winograd(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Apply the Winograd algorithm; arguments as in `conv3x3`, height and width multiples of 4, no gradients."""
    (batch, inputs, height, width), outputs = x.shape, len(weight)
    input_transform, kernel_transform, output_transform = (weight.new_tensor(m) for m in transform_matrices())
    kernels = (kernel_transform @ weight.flatten(2).flatten(0, 1).t()).view(PRODUCTS, outputs, inputs)
    shift = weight.new_zeros(outputs) if bias is None else bias

    # Buffers are reused because fresh memory is slow.
    rows, columns = height // STEP, width // STEP
    strip = max(1, min(rows, BUFFER_BYTES // (4 * PRODUCTS * (inputs + outputs) * columns)))  # rows per strip
    gathered, transformed = x.new_empty(2, PRODUCTS * inputs * strip * columns)
    products = x.new_empty(PRODUCTS * outputs * strip * columns)
    squares = x.new_empty(STEP * STEP * outputs * strip * columns)

    result = x.new_empty(batch, outputs, height, width)
    for image, out in zip(x, result, strict=True):
        patches = F.pad(image, (1, 1, 1, 1)).unfold(1, SIDE, STEP).unfold(2, SIDE, STEP)  # (I, rows, columns, 6, 6)
        out = out.view(outputs, rows, STEP, columns, STEP)
        for start in range(0, rows, strip):
            part = patches[:, start : start + strip].permute(3, 4, 0, 1, 2)  # (6, 6, I, strip, columns)
            n = part.shape[3] * columns

            pixels = gathered[: PRODUCTS * inputs * n].view(SIDE, SIDE, inputs, -1, columns).copy_(part)
            transformed_pixels = transformed[: PRODUCTS * inputs * n].view(PRODUCTS, -1)
            torch.mm(input_transform, pixels.view(PRODUCTS, -1), out=transformed_pixels)

            product = products[: PRODUCTS * outputs * n].view(PRODUCTS, outputs, n)
            torch.bmm(kernels, transformed_pixels.view(PRODUCTS, inputs, n), out=product)

            square = squares[: STEP * STEP * outputs * n].view(STEP * STEP, -1)
            torch.mm(output_transform, product.view(PRODUCTS, -1), out=square)
            square = square.view(STEP, STEP, outputs, -1, columns).permute(2, 3, 0, 4, 1)
            torch.add(square, shift[:, None, None, None, None], out=out[:, start : start + strip])
    return result


@cache
def transform_matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the matrices of the algorithm for squares flattened row by row.

    Returns:
        Transforms of inputs, shape (36, 36); of kernels, shape (36, 9); and of products to outputs, shape (16, 36).
    """
    points = np.array(POINTS)
    pixels, kernels, products = np.zeros((SIDE, SIDE)), np.zeros((SIDE, 3)), np.zeros((STEP, SIDE))
    for i, point in enumerate(points):
        others = np.delete(points, i)
        pixels[i, : SIDE - 1] = np.poly(others)[::-1]
        kernels[i] = point ** np.arange(3) / np.prod(point - others)
        products[:, i] = point ** np.arange(STEP)

    pixels[-1] = np.poly(points)[::-1]  # the point at infinity
    kernels[-1, -1] = products[-1, -1] = 1
    scale = 2.0 ** np.round(np.log2(np.abs(pixels).max(axis=1, keepdims=True)))  # powers of two are exact
    pixels, kernels = pixels / scale, kernels * scale
    return np.kron(pixels, pixels), np.kron(kernels, kernels), np.kron(products, products)
