"""Blocks of the compact networks as single operations: norms folded into weights, sums and activations fused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.networks.cpu.boxes import Box
from joyvasa.networks.cpu.dispatch import use_cpu_kernel
from joyvasa.sample.networks.layers import ConvNormRelu, ResidualBlock, UNet, upsample_2x

# oneDNN adds and activates while the result is in the cache.
_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


@dataclass(frozen=True)
class FoldedConv:
    """Convolution with square kernels and zero padding that keeps the size, optionally with a sum and ReLU."""

    weight: Tensor  # kernels, shape (outputs, inputs, k, k), stored channels last
    bias: Tensor | None  # bias, shape (outputs,); None for none
    stride: int = 1  # stride
    relu: bool = False  # whether ReLU follows

    @classmethod
    def from_layers(cls, convolution: nn.Conv2d, norm: nn.BatchNorm2d | None = None, *, relu: bool) -> FoldedConv:
        """Return a convolution, with the batch norm in eval mode that follows it, as one operation."""
        weight = convolution.weight.detach()
        bias = weight.new_zeros(len(weight)) if convolution.bias is None else convolution.bias.detach()
        if norm is not None:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            scale = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
            weight, bias = weight * scale[:, None, None, None], (bias - norm.running_mean) * scale + norm.bias.detach()
        return cls(weight.contiguous(memory_format=torch.channels_last), bias, convolution.stride[0], relu)

    def split(self, *parts: Sequence[Tensor]) -> tuple[FoldedConv, FoldedConv]:
        """Return two convolutions whose results add up to this one; only the first has the bias, only the second ReLU.

        Args:
            parts: kernels of the input channels of each, as tensors of shape (outputs, n, k, k).
        """
        first, second = (torch.cat(list(part), 1).contiguous(memory_format=torch.channels_last) for part in parts)
        return replace(self, weight=first, relu=False), replace(self, weight=second, bias=None)

    def __call__(self, x: Tensor, addend: Tensor | None = None) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride); `addend` is added before ReLU."""
        padding = self.weight.shape[-1] // 2
        if _ONEDNN and use_cpu_kernel(x, self.weight):
            operation = torch.ops.mkldnn._convolution_pointwise
            geometry = [padding] * 2, [self.stride] * 2, [1, 1], 1
            if addend is None:
                return operation(x, self.weight, self.bias, *geometry, "relu" if self.relu else "none", [], "")
            relu = "relu" if self.relu else None
            return operation.binary(x, addend, self.weight, self.bias, *geometry, "add", 1.0, relu, [], "")
        y = F.conv2d(x, self.weight, self.bias, self.stride, padding)
        y = y if addend is None else y + addend
        return F.relu(y, inplace=True) if self.relu else y


def fold(block: ConvNormRelu) -> FoldedConv:
    """Return a block as one operation."""
    convolution, norm, _ = block
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    return FoldedConv.from_layers(convolution, norm, relu=True)


class FoldedResidualBlock:
    """`ResidualBlock` as two operations."""

    def __init__(self, block: ResidualBlock) -> None:
        convolution, norm = block.second
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        self._first, self._second = fold(block.first), FoldedConv.from_layers(convolution, norm, relu=True)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the shape of the input, (B, channels, H, W)."""
        return self._second(self._first(x), x)


class FoldedUNet:
    """`UNet` without its first block."""

    def __init__(self, network: UNet) -> None:
        self._down = [(fold(down), FoldedResidualBlock(block)) for down, block in network.down]  # type: ignore[misc]
        self._up = [_split_up(block) for block in network.up]  # type: ignore[arg-type]

    def __call__(self, x: Tensor, box: Box | None = None) -> Tensor:
        """Apply everything after `enter`.

        Args:
            x: result of `enter`, shape (B, widths[0], H, W).
            box: the pixels to compute; None for all.

        Returns:
            Map, shape (B, widths[0], height of the box, width of the box).
        """
        levels = [x]
        for down, block in self._down:
            levels.append(block(down(levels[-1])))
        x = levels.pop()
        for upper, skipped in self._up:
            x, level = upsample_2x(x), levels.pop()
            outer = Box(0, 0, x.shape[-1], x.shape[-2])
            if box is not None and not levels:
                outer = box.grow(1, x.shape[-1])
            x = skipped(_contiguous(outer.cut(level)), upper(_contiguous(outer.cut(x))))
        return x if box is None else box.within(outer).cut(x)


def _contiguous(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _split_up(block: ConvNormRelu) -> tuple[FoldedConv, FoldedConv]:
    """Return the convolutions of the upsampled map and of the skipped one, whose sum needs no concatenated map."""
    whole = fold(block)
    n_skipped = len(whole.weight)  # a level of the pyramid has as many outputs as inputs from the way down
    upper, skipped = whole.weight.split([whole.weight.shape[1] - n_skipped, n_skipped], 1)
    return whole.split([upper], [skipped])


def stack_maps(*maps: Tensor) -> Tensor:
    """Concatenate maps, (B, C, H, W), channels last; as arrays of (B, H, W, C) this copies only once."""
    return torch.cat([x.permute(0, 2, 3, 1) for x in maps], -1).permute(0, 3, 1, 2)
