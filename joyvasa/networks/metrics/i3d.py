"""I3D on RGB: action recognition in short clips (Carreira and Zisserman 2017, Kinetics-400).

Weights have the names of pytorch-i3d, in whose format the weights of tf-hub's `i3d-kinetics-400` are distributed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.networks.config import size_error

MIN_FRAMES = 9  # with fewer, less than the two time steps of the last pooling remain

# Channels of an inception block: 1x1; 1x1, then 3x3x3; 1x1, then 3x3x3; 1x1 after pooling.
_MIXED: dict[str, tuple[int, int, int, int, int, int]] = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}


@dataclass(frozen=True, kw_only=True)
class I3dConfig:
    """Options that the published weights do not determine.

    Raises:
        ConfigError: `bad_network_size`.
    """

    # epsilon of batch norm; 1e-3 in the original (Sonnet's default) and in pytorch-i3d, 1e-5 in VideoGPT, TATS and
    # cd-fvd
    batch_norm_epsilon: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 < self.batch_norm_epsilon < 1:
            expected = "a number between 0 and 1, such as 0.001"
            raise size_error(self, "batch_norm_epsilon", repr(self.batch_norm_epsilon), expected)


class I3d(nn.Module):
    """Inception with 3-D convolutions and the logits of Kinetics-400."""

    def __init__(self, config: I3dConfig | None = None) -> None:
        super().__init__()
        self.config = config or I3dConfig()
        epsilon = self.config.batch_norm_epsilon
        self.Conv3d_1a_7x7 = _Unit(3, 64, kernel=7, stride=2, epsilon=epsilon)
        self.Conv3d_2b_1x1 = _Unit(64, 64, epsilon=epsilon)
        self.Conv3d_2c_3x3 = _Unit(64, 192, kernel=3, epsilon=epsilon)

        channels = 192
        for name, widths in _MIXED.items():
            block = _Mixed(channels, widths, epsilon=epsilon)
            self.add_module(f"Mixed_{name}", block)
            channels = block.channels
        self.logits = nn.ModuleDict({"conv3d": nn.Conv3d(channels, 400, kernel_size=1)})

    def forward(self, video: Tensor) -> Tensor:
        """Compute logits, averaged over time.

        Args:
            video: RGB clip in [-1, 1], shape (batch, 3, T, 224, 224), T at least `MIN_FRAMES`.

        Returns:
            Logits, shape (batch, 400).
        """
        x = self.Conv3d_1a_7x7(video)  # (B, 64, T/2, 112, 112)
        x = _max_pool(x, (1, 3, 3), (1, 2, 2))
        x = self.Conv3d_2b_1x1(x)  # (B, 64, T/2, 56, 56)
        x = self.Conv3d_2c_3x3(x)  # (B, 192, T/2, 56, 56)
        x = _max_pool(x, (1, 3, 3), (1, 2, 2))  # (B, 192, T/2, 28, 28)
        x = self._mixed(x, "3b", "3c")
        x = _max_pool(x, (3, 3, 3), (2, 2, 2))  # (B, 480, T/4, 14, 14)
        x = self._mixed(x, "4b", "4c", "4d", "4e", "4f")
        x = _max_pool(x, (2, 2, 2), (2, 2, 2))  # (B, 832, T/8, 7, 7)
        x = self._mixed(x, "5b", "5c")
        x = F.avg_pool3d(x, (2, 7, 7), stride=1)  # (B, 1024, T/8 - 1, 1, 1)
        return self.logits["conv3d"](x)[..., 0, 0].mean(2)

    def _mixed(self, x: Tensor, *names: str) -> Tensor:
        for name in names:
            x = self.get_submodule(f"Mixed_{name}")(x)
        return x


class _Unit(nn.Module):
    """TensorFlow's `SAME` padding, convolution without bias, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, epsilon: float) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(outputs, eps=epsilon)
        self.kernel, self.stride = (kernel, kernel, kernel), (stride, stride, stride)

    def forward(self, x: Tensor) -> Tensor:
        x = _pad_same(x, self.kernel, self.stride)
        return F.relu(self.bn(self.conv3d(x)), inplace=True)


class _Mixed(nn.Module):
    """Four parallel branches, concatenated; keeps frames, height and width."""

    def __init__(self, inputs: int, widths: tuple[int, int, int, int, int, int], *, epsilon: float) -> None:
        super().__init__()
        a, b, c, d, e, f = widths
        self.channels = a + c + e + f
        self.b0 = _Unit(inputs, a, epsilon=epsilon)
        self.b1a = _Unit(inputs, b, epsilon=epsilon)
        self.b1b = _Unit(b, c, kernel=3, epsilon=epsilon)
        self.b2a = _Unit(inputs, d, epsilon=epsilon)
        self.b2b = _Unit(d, e, kernel=3, epsilon=epsilon)
        self.b3b = _Unit(inputs, f, epsilon=epsilon)

    def forward(self, x: Tensor) -> Tensor:
        pooled = _max_pool(x, (3, 3, 3), (1, 1, 1))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], dim=1)


def _max_pool(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """Max pooling with `SAME` padding by zeros, which is valid because inputs are non-negative."""
    return F.max_pool3d(_pad_same(x, kernel, stride), kernel, stride)


def _pad_same(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """Pad as TensorFlow's `SAME`: ceil(size / stride) outputs per axis, with the odd zero at the end."""
    padding: list[int] = []
    for size, k, s in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), strict=True):
        total = max(k - (size % s or s), 0)
        padding += [total // 2, total - total // 2]
    return F.pad(x, padding) if any(padding) else x
