"""Seeded weights for tests: made in memory from the network classes, the same on every run and in any order."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from joyvasa.bundles.spec import Role

KEYPOINTS = 21


def role_seed(role: str) -> int:
    """Seed of a role, from its name alone."""
    return int.from_bytes(hashlib.sha256(role.encode()).digest()[:4], "big")


def generate_network(build: Callable[[], nn.Module], role: str, entry: Role) -> nn.Module:
    """A network with seeded constructor weights.

    Args:
        build: makes the network.
        role: seeds the weights.
        entry: its `scales` multiply the tensors whose key matches a pattern, its `constants` replace them, so that
            poses and offsets come out in the range of real ones.

    Returns:
        The network in eval mode. The global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(role_seed(role))
        network = build()
        for key, tensor in network.state_dict().items():
            for pattern, factor in entry.scales.items():
                if fnmatch.fnmatchcase(key, pattern):
                    tensor.mul_(factor)
            for pattern, value in entry.constants.items():
                if fnmatch.fnmatchcase(key, pattern):
                    tensor.fill_(value)
    return network.eval()


def make_template_arrays(config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Statistics of an ordinary talking head, under the names of the published template.

    Args:
        config: nothing is configurable; accepted so that all roles are treated alike.

    Returns:
        mean, standard deviation, minimum and maximum of scale, translation, expression (63), angles
        in degrees and the rotation matrix, float32.
    """
    del config
    minimum = {"scale": [1.2], "t": [-0.1] * 3, "pitch": [-10.0], "yaw": [-10.0], "roll": [-10.0]}
    maximum = {"scale": [1.6], "t": [0.1] * 3, "pitch": [10.0], "yaw": [10.0], "roll": [10.0]}
    minimum |= {"exp": [-0.03] * 3 * KEYPOINTS, "R": [-1.0] * 9}
    maximum |= {"exp": [0.03] * 3 * KEYPOINTS, "R": [1.0] * 9}
    arrays: dict[str, np.ndarray] = {}
    for name, low in minimum.items():
        lowest, highest = np.asarray(low, np.float32), np.asarray(maximum[name], np.float32)
        arrays[f"min_{name}"], arrays[f"max_{name}"] = lowest, highest
        arrays[f"mean_{name}"] = (lowest + highest) / 2
        arrays[f"std_{name}"] = (highest - lowest) / 6  # the range is three deviations to each side
        arrays[f"abs_max_{name}"] = np.maximum(-lowest, highest)
    return arrays
