"""Seeded random weights for tests, independent of the order of loading."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from joyvasa.bundles.spec import Role

KEYPOINTS = 21


def derive_role_seed(role: str) -> int:
    """Derive the seed of a role from its name."""
    return int.from_bytes(hashlib.sha256(role.encode()).digest()[:4], "big")


def generate_network(build: Callable[[], nn.Module], role: str, entry: Role) -> nn.Module:
    """Build a network with seeded weights.

    Args:
        build: function that builds the network.
        role: name of the role, from which the seed is derived.
        entry: entry of the role. Its `scales` multiply tensors whose key matches a pattern, its `constants` replace
            them, so that poses and offsets have a realistic range.

    Returns:
        The network in eval mode. The global random state is not changed.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(derive_role_seed(role))
        network = build()
        for key, tensor in network.state_dict().items():
            for pattern, factor in entry.scales.items():
                if fnmatch.fnmatchcase(key, pattern):
                    tensor.mul_(factor)
            for pattern, value in entry.constants.items():
                if fnmatch.fnmatchcase(key, pattern):
                    tensor.fill_(value)
    return network.eval()


def make_template_arrays() -> dict[str, np.ndarray]:
    """Return plausible motion statistics under the names of the published template.

    Returns:
        Mean, standard deviation, minimum and maximum of scale, translation, expression (63), angles in degrees and the
        rotation matrix, float32.
    """
    minimum = {"scale": [1.2], "t": [-0.1] * 3, "pitch": [-10.0], "yaw": [-10.0], "roll": [-10.0]}
    maximum = {"scale": [1.6], "t": [0.1] * 3, "pitch": [10.0], "yaw": [10.0], "roll": [10.0]}
    minimum |= {"exp": [-0.03] * 3 * KEYPOINTS, "R": [-1.0] * 9}
    maximum |= {"exp": [0.03] * 3 * KEYPOINTS, "R": [1.0] * 9}

    arrays: dict[str, np.ndarray] = {}
    for name, low in minimum.items():
        lowest, highest = np.asarray(low, np.float32), np.asarray(maximum[name], np.float32)
        arrays[f"min_{name}"], arrays[f"max_{name}"] = lowest, highest
        arrays[f"mean_{name}"] = (lowest + highest) / 2
        arrays[f"std_{name}"] = (highest - lowest) / 6  # the range spans three standard deviations to each side
        arrays[f"abs_max_{name}"] = np.maximum(-lowest, highest)
    return arrays
