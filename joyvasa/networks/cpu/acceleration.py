"""Replacement of modules by faster ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from torch import nn

from joyvasa.networks import denoising_network, layers, motion_extractor, spade_generator, warping_module
from joyvasa.networks.cpu.attention import FastAlignedAttention, FastSelfAttention
from joyvasa.networks.cpu.large_kernels import FewOutputsConv2d, FourierConv3d
from joyvasa.networks.cpu.linear import Linear, LinearGelu
from joyvasa.networks.cpu.spade import FastSpade, FastSpadeBlock, FastSpectralNormConv2d, FastUpSpadeBlock
from joyvasa.networks.cpu.upsampling import FastUpBlock
from joyvasa.networks.cpu.winograd import WinogradConv3d, WinogradConvBlock, WinogradDownBlock

Network = TypeVar("Network", bound=nn.Module)

# Replacement of a module's class.
FAST_MODULES: Mapping[type[nn.Module], type[nn.Module]] = {
    denoising_network.SelfAttention: FastSelfAttention,
    denoising_network.AlignedAttention: FastAlignedAttention,
    spade_generator.SpectralNormConv2d: FastSpectralNormConv2d,
    spade_generator.Spade: FastSpade,
    spade_generator.SpadeBlock: FastSpadeBlock,
    spade_generator.UpSpadeBlock: FastUpSpadeBlock,
    warping_module.UpBlock: FastUpBlock,
    layers.ConvBlock: WinogradConvBlock,
    layers.DownBlock: WinogradDownBlock,
}
# Replacement of the classes of a module's layers, by layer name.
FAST_LAYERS: Mapping[type[nn.Module], Mapping[str, type[nn.Module]]] = {
    denoising_network.SelfAttention: {"out_proj": Linear},
    denoising_network.AlignedAttention: {"out_proj": Linear},
    denoising_network.DecoderLayer: {"linear1": LinearGelu, "activation": nn.Identity, "linear2": Linear},
    motion_extractor.ConvNextBlock: {"pwconv1": LinearGelu, "activation": nn.Identity, "pwconv2": Linear},
    warping_module.HourglassDecoder: {"conv": WinogradConv3d},
    warping_module.DenseMotionNetwork: {"mask": FourierConv3d, "occlusion": FewOutputsConv2d},
}


def accelerate(network: Network) -> Network:
    """Replace modules of a loaded network in eval mode by faster ones, in place; return it.

    Results differ only by float rounding; weights and state-dict keys do not change. On other devices, in reduced
    precision and for unsuitable sizes, a fast module uses the original computation if that is faster.
    """
    for module in network.modules():
        original = type(module)
        for name, layer_class in FAST_LAYERS.get(original, {}).items():
            module.get_submodule(name).__class__ = layer_class
        module.__class__ = FAST_MODULES.get(original, original)
    return network
