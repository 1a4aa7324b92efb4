"""Convolutions with large kernels, for which the usual algorithms are slow."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.networks.cpu.dispatch import use_cpu_kernel
from joyvasa.networks.cpu.tensor_cache import TensorCache

TILE = 16  # side of a transformed square, without the margin that the kernel reaches


class FourierConv3d(nn.Conv3d):
    """Same-size convolution; on a CPU in float32 by Fourier transforms of tiles (overlap-save).

    With a kernel of 7x7x7 this needs a fiftieth of the multiplications. In other cases it is a plain `nn.Conv3d`. The
    kernel must be a cube with an odd side; the padding is half of the side.
    """

    _kernel_spectrum: TensorCache | None = None

    @property
    def _reach(self) -> int:
        return self.kernel_size[0] // 2

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, depth, height, width) to (batch, outputs, depth, height, width)."""
        if not use_cpu_kernel(x, self.weight) or min(x.shape[-2:]) < TILE:
            return super().forward(x)

        depth, height, width = x.shape[2:]
        rows, columns = -(-height // TILE), -(-width // TILE)
        shape = self._transform_shape(depth)
        half = (*shape[:2], shape[2] // 2 + 1)

        if self._kernel_spectrum is None:
            self._kernel_spectrum = TensorCache()
        kernels = self._kernel_spectrum.get((self.weight,), lambda: self._transform_kernels(shape), options=shape)

        result = x.new_empty(len(x), self.out_channels, depth, rows * TILE, columns * TILE)
        for frame, out in zip(x, result, strict=True):  # one at a time: a spectrum needs 100 MB
            y = torch.bmm(kernels, self._transform_frame(frame, shape, rows, columns))  # (frequencies, O, tiles)
            y = y.flatten(1).t().reshape(self.out_channels, rows, columns, *half)
            y = torch.fft.irfftn(y, s=shape)[..., :depth, :TILE, :TILE]  # (O, rows, columns, D, TILE, TILE)
            out.view(-1, depth, rows, TILE, columns, TILE).copy_(y.permute(0, 3, 1, 4, 2, 5))

        assert self.bias is not None
        return result[..., :height, :width] + self.bias[:, None, None, None]

    def _transform_shape(self, depth: int) -> tuple[int, int, int]:
        """Return the shape of a transformed tile.

        Fourier transforms are circular. The depth is padded with as many zeros as the kernel reaches, which serve both
        ends; in height and width, the wrapped margin of a tile is cut off.
        """
        return next_fast_length(depth + self._reach), TILE + 2 * self._reach, TILE + 2 * self._reach

    def _transform_kernels(self, shape: tuple[int, int, int]) -> Tensor:
        """Return the spectra of the kernels, shape (frequencies, outputs, inputs), complex.

        They are conjugated because the convolution of a network is a correlation.
        """
        padding = [(0, size - kernel) for size, kernel in zip(shape, self.weight.shape[2:], strict=True)]
        kernels = F.pad(self.weight, [n for pair in reversed(padding) for n in pair])
        kernels = torch.fft.rfftn(kernels.roll(-self._reach, 2), dim=(2, 3, 4))
        return kernels.conj_physical().flatten(2).permute(2, 0, 1).contiguous()

    def _transform_frame(self, frame: Tensor, shape: tuple[int, int, int], rows: int, columns: int) -> Tensor:
        """Return the spectra of the tiles, shape (frequencies, inputs, tiles), complex."""
        (depth, height, width), reach = frame.shape[1:], self._reach
        edges = reach, columns * TILE - width + reach, reach, rows * TILE - height + reach
        tiles = F.pad(frame, edges).unfold(2, shape[1], TILE).unfold(3, shape[2], TILE)
        padded = frame.new_zeros(len(frame), rows, columns, *shape)
        padded[:, :, :, :depth] = tiles.permute(0, 2, 3, 1, 4, 5)
        spectra = torch.fft.rfftn(padded, dim=(3, 4, 5))
        return spectra.view(len(frame) * rows * columns, -1).t().reshape(-1, len(frame), rows * columns)


class FewOutputsConv2d(nn.Conv2d):
    """Same-size convolution with few outputs: one matrix product, then a sum of shifted maps."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, height, width) to (batch, outputs, height, width)."""
        taps = self.weight.flip(2, 3).permute(0, 2, 3, 1).reshape(-1, self.in_channels, 1, 1)  # (O * 49, I, 1, 1)
        products = F.conv2d(x, taps).flatten(2).float()
        summed = F.fold(products, x.shape[2:], self.kernel_size, padding=self.padding)  # type: ignore[arg-type]
        assert self.bias is not None
        return summed + self.bias[:, None, None]


def next_fast_length(minimum: int) -> int:
    """Return the smallest length from `minimum` without prime factors above 5, for fast Fourier transforms."""
    length = minimum
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 1
