"""SPADE computed on maps before upsampling, with weights normalized once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from joyvasa.networks.cpu.tensor_cache import TensorCache
from joyvasa.networks.cpu.upsampling import conv3x3_upsampled
from joyvasa.networks.cpu.winograd import conv3x3, conv3x3_each
from joyvasa.networks.layers import full_precision
from joyvasa.networks.spade_generator import SLOPE, Spade, SpadeBlock, SpectralNormConv2d


class FastSpectralNormConv2d(SpectralNormConv2d):
    """`SpectralNormConv2d` that caches its effective weight and uses `conv3x3`."""

    _weight_cache: TensorCache | None = None

    def effective_weight(self) -> Tensor:
        """Return the weight divided by its largest singular value, computed once."""
        if self._weight_cache is None:
            self._weight_cache = TensorCache()
        return self._weight_cache.get((self.weight_orig, self.weight_u, self.weight_v), super().effective_weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, height, width) to (batch, outputs, height, width)."""
        return super().forward(x) if self.padding == 0 else conv3x3(x, self.effective_weight(), self.bias)


class FastSpade(Spade):
    """`Spade` for a map that is already normalized."""

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Scale and shift a normalized map, whose size must be a multiple of that of the conditioning map."""
        scale, shift = self.scale_and_map(self.hidden(x, condition), self.mlp_beta.weight, self.mlp_beta.bias)
        return torch.addcmul(shift, x, scale)

    def hidden(self, x: Tensor, condition: Tensor) -> Tensor:
        """Compute the hidden map of scale and shift without upsampling the conditioning map."""
        shared: nn.Conv2d = self.mlp_shared[0]  # type: ignore[assignment]
        return conv3x3_upsampled(condition, shared.weight, shared.bias, x.shape[-1] // condition.shape[-1], relu=True)

    def scale_and_map(self, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compute 1 + gamma, whose convolution has the 1 in its bias, and another convolution of the hidden map."""
        assert self.mlp_gamma.bias is not None
        scale, other = conv3x3_each(hidden, (self.mlp_gamma.weight, self.mlp_gamma.bias + 1), (weight, bias))
        return scale, other


class FastSpadeBlock(SpadeBlock):
    """`SpadeBlock` of `FastSpade` layers that normalizes its input once, before upsampling."""

    factor = 1  # upsampling factor of height and width

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map (batch, channels, height, width) to (batch, outputs, factor * height, factor * width)."""
        # Repeating pixels does not change their mean and deviation.
        normalized = self._upsample(F.instance_norm(x))
        y = self.conv_0(F.leaky_relu(self.norm_0(normalized, condition), SLOPE, inplace=True))
        y = self.conv_1(F.leaky_relu(self.norm_1(F.instance_norm(y), condition), SLOPE, inplace=True))
        return y + (self._shortcut(normalized, condition) if self.learned_shortcut else self._upsample(x))

    def _shortcut(self, normalized: Tensor, condition: Tensor) -> Tensor:
        """Compute `conv_s(norm_s(x))`; `conv_s` is merged into the convolution of the shift."""
        norm: FastSpade = self.norm_s  # type: ignore[assignment]
        hidden = norm.hidden(normalized, condition)
        beta, mix = norm.mlp_beta, self.conv_s.effective_weight()[:, :, 0, 0]  # (outputs, inputs)
        assert beta.bias is not None
        with full_precision(mix):
            weight, bias = torch.einsum("oi,ihyx->ohyx", mix, beta.weight), mix @ beta.bias
        scale, shift = norm.scale_and_map(hidden, weight, bias)
        return self.conv_s(scale.mul_(normalized)).add_(shift)

    def _upsample(self, x: Tensor) -> Tensor:
        return x if self.factor == 1 else F.interpolate(x, scale_factor=self.factor)


class FastUpSpadeBlock(FastSpadeBlock):
    """`FastSpadeBlock` that replaces an `UpSpadeBlock`."""

    factor = 2
