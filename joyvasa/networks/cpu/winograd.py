"""3x3 convolutions with a quarter of the multiplications.

Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks": a square of 4x4 results is computed from the
6x6 pixels that it sees in 36 products instead of 144. For the CPU and float32, where products are what takes the time.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from joyvasa.networks.cpu.dispatch import use_cpu_kernel

STEP, SIDE = 4, 6  # of the squares of results, and of what they see
PRODUCTS = SIDE * SIDE
# Where the polynomials behind the method are evaluated, beside infinity. Results are off by 2e-6 of the largest one;
# with 1 and 2, as in the paper, by 8e-6.
POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)
BUFFER_BYTES = 32 << 20  # of a strip of squares: larger ones leave the cache, smaller ones make slow products
# With fewer channels in and out, fewer pairs of them, or fewer pixels the transforms cost what the products save.
MIN_CHANNELS, MIN_CHANNEL_PAIRS, MIN_PIXELS = 128, 128 * 256, 32 * 32


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`F.conv2d` with a 3x3 kernel and padding 1, by the algorithm that is fastest for the sizes and the device.

    Args:
        x: shape (batch, inputs, height, width).
        weight: shape (outputs, inputs, 3, 3).
        bias: shape (outputs,).

    Returns:
        shape (batch, outputs, height, width).
    """
    (outputs, inputs), (height, width) = weight.shape[:2], x.shape[2:]
    pays = min(inputs, outputs) >= MIN_CHANNELS and inputs * outputs >= MIN_CHANNEL_PAIRS
    fits = height % STEP == width % STEP == 0 and height * width >= MIN_PIXELS
    given = (x, weight) if bias is None else (x, weight, bias)
    if pays and fits and use_cpu_kernel(*given):
        return conv3x3_winograd(x, weight, bias)
    return F.conv2d(x, weight, bias, padding=1)


def conv3x3_winograd(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """As `conv3x3`, for heights and widths that are multiples of 4; without gradients."""
    (batch, inputs, height, width), outputs = x.shape, len(weight)
    of_pixels, of_kernels, of_products = (weight.new_tensor(matrix) for matrix in transform_matrices())
    kernels = (of_kernels @ weight.flatten(2).flatten(0, 1).t()).view(PRODUCTS, outputs, inputs)
    shift = weight.new_zeros(outputs) if bias is None else bias
    rows, columns = height // STEP, width // STEP
    strip = max(1, min(rows, BUFFER_BYTES // (4 * PRODUCTS * (inputs + outputs) * columns)))  # rows at once
    seen, transformed = x.new_empty(2, PRODUCTS * inputs * strip * columns)  # buffers: fresh memory is slow
    products = x.new_empty(PRODUCTS * outputs * strip * columns)
    squares = x.new_empty(STEP * STEP * outputs * strip * columns)
    result = x.new_empty(batch, outputs, height, width)
    for picture, out in zip(x, result, strict=True):
        patches = F.pad(picture, (1, 1, 1, 1)).unfold(1, SIDE, STEP).unfold(2, SIDE, STEP)  # (I, rows, columns, 6, 6)
        out = out.view(outputs, rows, STEP, columns, STEP)
        for start in range(0, rows, strip):
            part = patches[:, start : start + strip]
            n = part.shape[1] * columns
            given = (
                seen[: PRODUCTS * inputs * n].view(SIDE, SIDE, inputs, -1, columns).copy_(part.permute(3, 4, 0, 1, 2))
            )
            pixels = transformed[: PRODUCTS * inputs * n].view(PRODUCTS, -1)
            torch.mm(of_pixels, given.view(PRODUCTS, -1), out=pixels)
            product = products[: PRODUCTS * outputs * n].view(PRODUCTS, outputs, n)
            torch.bmm(kernels, pixels.view(PRODUCTS, inputs, n), out=product)
            square = squares[: STEP * STEP * outputs * n].view(STEP * STEP, -1)
            torch.mm(of_products, product.view(PRODUCTS, -1), out=square)
            square = square.view(STEP, STEP, outputs, -1, columns).permute(2, 3, 0, 4, 1)
            torch.add(square, shift[:, None, None, None, None], out=out[:, start : start + strip])
    return result


@cache
def transform_matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrices of the method in two dimensions, for vectors that hold squares row by row.

    Returns:
        of pixels, shape (36, 36); of kernels, (36, 9); of products into results, (16, 36).
    """
    points = np.array(POINTS)
    pixels, kernels, products = np.zeros((SIDE, SIDE)), np.zeros((SIDE, 3)), np.zeros((STEP, SIDE))
    for i, point in enumerate(points):
        others = np.delete(points, i)
        pixels[i, : SIDE - 1] = np.poly(others)[::-1]
        kernels[i] = point ** np.arange(3) / np.prod(point - others)
        products[:, i] = point ** np.arange(STEP)
    pixels[-1] = np.poly(points)[::-1]  # infinity
    kernels[-1, -1] = products[-1, -1] = 1
    scale = 2.0 ** np.round(np.log2(np.abs(pixels).max(axis=1, keepdims=True)))  # powers of two round nothing
    pixels, kernels = pixels / scale, kernels * scale
    return np.kron(pixels, pixels), np.kron(kernels, kernels), np.kron(products, products)
