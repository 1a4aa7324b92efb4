"""3x3 convolutions with a quarter of the multiplications, for CPUs and float32.

Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks": a square of 4x4 outputs is computed from 6x6
inputs with 36 products instead of 144.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.networks.cpu.dispatch import use_cpu_kernel
from joyvasa.networks.layers import ConvBlock, DownBlock

STEP, SIDE = 4, 6  # sides of a square of outputs and of its inputs
PRODUCTS = SIDE * SIDE
# Evaluation points of the polynomials behind the algorithm, in addition to infinity. The error is 2e-6 of the largest
# result; with 1 and 2, as in the paper, it is 8e-6.
POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)
BUFFER_BYTES = 32 << 20  # per strip of squares: larger strips exceed the cache, smaller ones make slow products
# Below these sizes the transforms cost more than the products save: products per transformed input and output, pixels.
MIN_PRODUCTS, MIN_PIXELS = 60, 32 * 32


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve with a 3x3 or 3x3x3 kernel and padding 1 by the algorithm that is fastest for sizes and device.

    Args:
        x: map, shape (batch, inputs, height, width), or volume, shape (batch, inputs, depth, height, width).
        weight: kernels, shape (outputs, inputs, 3, 3) or (outputs, inputs, 3, 3, 3).
        bias: bias, shape (outputs,).

    Returns:
        Result, shape (batch, outputs, ..., height, width).
    """
    return conv3x3_each(x, (weight, bias))[0]


def conv3x3_each(x: Tensor, *layers: tuple[Tensor, Tensor | None]) -> list[Tensor]:
    """Apply `conv3x3` with several kernels, each with its bias, to one input, which is transformed only once."""
    weights = [weight for weight, _ in layers]
    tensors = [tensor for layer in layers for tensor in layer if tensor is not None]
    if is_worth_transforming(x, weights) and use_cpu_kernel(x, *tensors):
        return conv3x3_winograd(x, *layers)
    convolution = F.conv2d if x.ndim == 4 else F.conv3d
    return [convolution(x, weight, bias, padding=1) for weight, bias in layers]


def is_worth_transforming(x: Tensor, weights: Sequence[Tensor]) -> bool:
    """Return whether the transforms cost less than the products that they save, for convolutions of one input."""
    inputs, (height, width) = x.shape[1], x.shape[-2:]
    outputs, depth_taps = sum(map(len, weights)), math.prod(weights[0].shape[2:-2])
    suitable_size = height % STEP == width % STEP == 0 and height * width >= MIN_PIXELS
    return suitable_size and depth_taps * inputs * outputs >= MIN_PRODUCTS * (inputs + outputs)


def conv3x3_winograd(x: Tensor, *layers: tuple[Tensor, Tensor | None]) -> list[Tensor]:
    """Apply the Winograd algorithm in height and width; arguments as in `conv3x3_each`.

    Height and width must be multiples of 4; gradients are not supported. The three taps of a volume's kernel along the
    depth are added as products.
    """
    flat = x if x.ndim == 5 else x[:, :, None]  # (B, I, D, height, width)
    (batch, inputs, depth, height, width), taps = flat.shape, 3 if x.ndim == 5 else 1
    input_transform, kernel_transform, output_transform = (x.new_tensor(m) for m in transform_matrices())
    kernels = [
        (kernel_transform @ weight.reshape(len(weight), inputs, taps, 9).permute(3, 2, 0, 1).flatten(1)).view(
            PRODUCTS, taps, len(weight), inputs
        )
        for weight, _ in layers
    ]

    # Buffers are reused because fresh memory is slow.
    rows, columns, padded_depth = height // STEP, width // STEP, depth + taps - 1
    most_outputs = max(len(weight) for weight, _ in layers)
    row_bytes = 4 * PRODUCTS * columns * (inputs * padded_depth + most_outputs * depth)
    strip = max(1, min(rows, BUFFER_BYTES // row_bytes))  # rows per strip
    gathered, transformed = x.new_empty(2, PRODUCTS * inputs * padded_depth * strip * columns)
    products = x.new_empty(PRODUCTS * most_outputs * depth * strip * columns)
    squares = x.new_empty(STEP * STEP * most_outputs * depth * strip * columns)

    results = [x.new_empty(batch, len(weight), *x.shape[2:]) for weight, _ in layers]
    padding = (1, 1, 1, 1, taps // 2, taps // 2)
    for i, image in enumerate(flat):
        patches = F.pad(image, padding).unfold(2, SIDE, STEP).unfold(3, SIDE, STEP)  # (I, D + 2, rows, columns, 6, 6)
        for start in range(0, rows, strip):
            part = patches[:, :, start : start + strip].permute(4, 5, 0, 1, 2, 3)  # (6, 6, I, D + 2, strip, columns)
            n = part.shape[4] * columns
            shape = PRODUCTS, inputs, padded_depth * n
            pixels = gathered[: math.prod(shape)].view(part.shape).copy_(part)
            transformed_pixels = transformed[: math.prod(shape)].view(shape)
            torch.mm(input_transform, pixels.view(PRODUCTS, -1), out=transformed_pixels.view(PRODUCTS, -1))

            for (weight, bias), kernel, result in zip(layers, kernels, results, strict=True):
                outputs = len(weight)
                product = products[: PRODUCTS * outputs * depth * n].view(PRODUCTS, outputs, depth * n)
                torch.bmm(kernel[:, 0], transformed_pixels[..., : depth * n], out=product)
                for tap in range(1, taps):
                    product.baddbmm_(kernel[:, tap], transformed_pixels[..., tap * n : (tap + depth) * n])

                square = squares[: STEP * STEP * outputs * depth * n].view(STEP * STEP, -1)
                torch.mm(output_transform, product.view(PRODUCTS, -1), out=square)
                square = square.view(STEP, STEP, outputs, depth, -1, columns).permute(2, 3, 4, 0, 5, 1)
                out = result[i].view(outputs, depth, rows, STEP, columns, STEP)[:, :, start : start + strip]
                if bias is None:
                    out.copy_(square)
                else:
                    torch.add(square, bias[:, None, None, None, None, None], out=out)
    return results


class WinogradConv3d(nn.Conv3d):
    """Convolution with a 3x3x3 kernel and padding 1 that calls `conv3x3`."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (batch, inputs, depth, height, width) to (batch, outputs, depth, height, width)."""
        return conv3x3(input, self.weight, self.bias)


class WinogradConvBlock(ConvBlock):
    """`ConvBlock` that calls `conv3x3`."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, ...) to (batch, outputs, ...)."""
        return self.activation(self.norm(conv3x3(x, self.conv.weight, self.conv.bias)))


class WinogradDownBlock(DownBlock, WinogradConvBlock):
    """`DownBlock` that calls `conv3x3`."""


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
