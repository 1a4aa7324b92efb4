"""Peculiarities of published checkpoint files, by network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from joyvasa.bundles.generator import infer_generator_config
from joyvasa.bundles.weights import Weights


@dataclass(frozen=True)
class CheckpointFormat:
    """How to read the checkpoint of a network. The defaults fit files that contain only the network's tensors."""

    dropped: frozenset[str] = frozenset()  # names of tensors that are ignored in the file and may be missing from it
    # function that derives the network configuration from the file and the `config` of its role; None if bundle.yaml
    # states the whole configuration
    config: Callable[[Weights, Mapping[str, Any]], dict[str, Any]] | None = None
    switches: tuple[str, ...] = ()  # switches of the bundle that are options of the network


_DEFAULT = CheckpointFormat()
_FORMATS = {
    # The published code drops the table of diffusion steps when loading: it is computed by a formula, and old files
    # contain fewer rows than the network.
    "motion_generator": CheckpointFormat(
        dropped=frozenset({"denoising_net.TE.pe"}), config=infer_generator_config, switches=("positional_encoding",)
    ),
    # The published file predates the batch counters of batch normalization, which only training uses.
    "syncnet": CheckpointFormat(
        dropped=frozenset(
            f"{name}.num_batches_tracked"
            for name in (
                *(f"{part}.{index}" for part in ("netcnnaud", "netcnnlip") for index in (1, 5, 9, 12, 15, 19)),
                "netfcaud.1",
                "netfclip.1",
            )
        )
    ),
}


def get_checkpoint_format(network: str | None) -> CheckpointFormat:
    """Return the checkpoint format of a network.

    Args:
        network: name for `joyvasa.networks.build`.
    """
    return _FORMATS.get(network or "", _DEFAULT)
