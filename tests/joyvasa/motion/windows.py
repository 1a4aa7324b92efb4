"""Windows of motion at published sizes, for benchmarks."""

import torch

from joyvasa.networks import build

RECORDS, STEP, SCALE = 16, 25, 2.8  # windows, diffusion step, guidance scale


def windows_of_records():
    """Return a network of published sizes, and motion, audio and previous frames of each record."""
    torch.manual_seed(0)
    network = build("motion_generator")
    sizes = network.config
    audio, motion = torch.randn(RECORDS, 100, sizes.feature_dim), torch.randn(RECORDS, 100, sizes.motion_feat_dim)
    prev_motion = torch.randn(RECORDS, sizes.n_prev_motions, sizes.motion_feat_dim)
    prev_audio = torch.randn(RECORDS, sizes.n_prev_motions, sizes.feature_dim)
    return network, motion, audio, prev_motion, prev_audio
