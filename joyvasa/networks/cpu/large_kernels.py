"""Convolutions with large kernels, of which the usual algorithms make slow work."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.networks.cpu.dispatch import use_cpu_kernel
from joyvasa.networks.cpu.tensor_cache import TensorCache

TILE = 16  # sides of the squares that are transformed at once, without what the kernel sees around them


class FourierConv3d(nn.Conv3d):
    """A convolution that keeps the size; on a CPU in float32 by Fourier transforms of tiles (overlap-save).

    With a kernel of 7x7x7 that takes a fiftieth of the multiplications. Elsewhere it is a plain `nn.Conv3d`. The kernel
    is a cube with an odd side, half of which is the padding.
    """

    _spectrum: TensorCache | None = None  # of the kernels

    @property
    def _reach(self) -> int:
        return self.kernel_size[0] // 2

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, depth, height, width) -> (batch, outputs, depth, height, width)."""
        if not use_cpu_kernel(x, self.weight) or min(x.shape[-2:]) < TILE:
            return super().forward(x)
        depth, height, width = x.shape[2:]
        rows, columns = -(-height // TILE), -(-width // TILE)
        shape = self._transform_shape(depth)
        if self._spectrum is None:
            self._spectrum = TensorCache()
        spectrum = self._spectrum.get((self.weight,), lambda: self._transformed_kernels(shape), options=shape)
        result = x.new_empty(len(x), self.out_channels, depth, rows * TILE, columns * TILE)
        for frame, out in zip(x, result, strict=True):  # one by one: a spectrum takes a hundred megabytes
            y = torch.bmm(spectrum, self._transformed(frame, shape, rows, columns))  # (frequencies, O, tiles)
            half = (*shape[:2], shape[2] // 2 + 1)
            y = y.flatten(1).t().reshape(self.out_channels, rows, columns, *half)
            y = torch.fft.irfftn(y, s=shape)[..., :depth, :TILE, :TILE]  # (O, rows, columns, D, TILE, TILE)
            out.view(-1, depth, rows, TILE, columns, TILE).copy_(y.permute(0, 3, 1, 4, 2, 5))
        assert self.bias is not None
        return result[..., :height, :width] + self.bias[:, None, None, None]

    def _transform_shape(self, depth: int) -> tuple[int, int, int]:
        """Of the tiles that are transformed.

        Axes of a transform are circles. That of the depth gets as many zeros as the kernel reaches, which serve both of
        its ends; what goes round the sides of a tile is cut off.
        """
        return next_fast_length(depth + self._reach), TILE + 2 * self._reach, TILE + 2 * self._reach

    def _transformed_kernels(self, shape: tuple[int, int, int]) -> Tensor:
        """Shape (frequencies, outputs, inputs), complex; conjugated, as a convolution of networks is a correlation."""
        missing = [(0, whole - have) for whole, have in zip(shape, self.weight.shape[2:], strict=True)]
        kernels = F.pad(self.weight, [n for pair in reversed(missing) for n in pair])
        kernels = torch.fft.rfftn(kernels.roll(-self._reach, 2), dim=(2, 3, 4))
        return kernels.conj_physical().flatten(2).permute(2, 0, 1).contiguous()

    def _transformed(self, frame: Tensor, shape: tuple[int, int, int], rows: int, columns: int) -> Tensor:
        """Shape (frequencies, inputs, tiles), complex."""
        (depth, height, width), reach = frame.shape[1:], self._reach
        edges = reach, columns * TILE - width + reach, reach, rows * TILE - height + reach
        tiles = F.pad(frame, edges).unfold(2, shape[1], TILE).unfold(3, shape[2], TILE)
        padded = frame.new_zeros(len(frame), rows, columns, *shape)
        padded[:, :, :, :depth] = tiles.permute(0, 2, 3, 1, 4, 5)
        spectra = torch.fft.rfftn(padded, dim=(3, 4, 5))
        return spectra.view(len(frame) * rows * columns, -1).t().reshape(-1, len(frame), rows * columns)


class FewOutputsConv2d(nn.Conv2d):
    """A convolution that keeps the size and has few outputs: one product of matrices, then sums of shifted maps."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, height, width) -> (batch, outputs, height, width)."""
        taps = self.weight.flip(2, 3).permute(0, 2, 3, 1).reshape(-1, self.in_channels, 1, 1)  # (O * 49, I, 1, 1)
        products = F.conv2d(x, taps).flatten(2).float()
        summed = F.fold(products, x.shape[2:], self.kernel_size, padding=self.padding)  # type: ignore[arg-type]
        assert self.bias is not None
        return summed + self.bias[:, None, None]


def next_fast_length(least: int) -> int:
    """The next length without prime factors above 5, which Fourier transforms like."""
    length = least
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 1
