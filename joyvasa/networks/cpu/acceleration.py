"""Which parts of a network have a faster form, and how they are put in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from torch import nn

from joyvasa.networks import denoising_network, motion_extractor, spade_generator, warping_module
from joyvasa.networks.cpu.attention import FastAlignedAttention, FastSelfAttention
from joyvasa.networks.cpu.large_kernels import FewOutputsConv2d, FourierConv3d
from joyvasa.networks.cpu.linear import Linear, LinearGelu
from joyvasa.networks.cpu.spade import FastSpade, FastSpadeBlock, FastSpectralNormConv2d, FastUpSpadeBlock
from joyvasa.networks.cpu.upsampling import FastUpBlock

Network = TypeVar("Network", bound=nn.Module)

# Modules with a form of their own.
FORMS: Mapping[type[nn.Module], type[nn.Module]] = {
    denoising_network.SelfAttention: FastSelfAttention,
    denoising_network.AlignedAttention: FastAlignedAttention,
    spade_generator.SpectralNormConv2d: FastSpectralNormConv2d,
    spade_generator.Spade: FastSpade,
    spade_generator.SpadeBlock: FastSpadeBlock,
    spade_generator.UpSpadeBlock: FastUpSpadeBlock,
    warping_module.UpBlock: FastUpBlock,
}
# Forms of the layers of a module, by the layer's name.
LAYER_FORMS: Mapping[type[nn.Module], Mapping[str, type[nn.Module]]] = {
    denoising_network.SelfAttention: {"out_proj": Linear},
    denoising_network.AlignedAttention: {"out_proj": Linear},
    denoising_network.DecoderLayer: {"linear1": LinearGelu, "activation": nn.Identity, "linear2": Linear},
    motion_extractor.ConvNextBlock: {"pwconv1": LinearGelu, "activation": nn.Identity, "pwconv2": Linear},
    warping_module.DenseMotionNetwork: {"mask": FourierConv3d, "occlusion": FewOutputsConv2d},
}


def accelerate(network: Network) -> Network:
    """Replace parts of a loaded network by their faster forms, in place, for inference.

    The results differ by float rounding only. Weights and state-dict keys stay as they are. On other devices, in
    reduced precision and where sizes do not suit it, a form computes as the plain part does wherever that is faster.

    Args:
        network: in eval mode; a network without such parts is left as it is.

    Returns:
        The same network.
    """
    for module in network.modules():
        kind = type(module)
        for name, form in LAYER_FORMS.get(kind, {}).items():
            module.get_submodule(name).__class__ = form
        module.__class__ = FORMS.get(kind, kind)
    return network
