"""What published files of some networks say, and leave out, in a way of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from joyvasa.bundles.generator import infer_generator_config
from joyvasa.bundles.weights import Weights


@dataclass(frozen=True)
class CheckpointFormat:
    """How the file of a network is read; the defaults fit every network whose file holds just its tensors.

    Args:
        dropped: tensors that are not taken from the file and may be missing in it.
        config: function of the file and the `config` of its role that gives the configuration of the network; None if
            bundle.yaml states all of it.
        switches: switches of the bundle that are options of the network.
    """

    dropped: frozenset[str] = frozenset()
    config: Callable[[Weights, Mapping[str, Any]], dict[str, Any]] | None = None
    switches: tuple[str, ...] = ()


_PLAIN = CheckpointFormat()
_FORMATS = {
    # The published code drops the table of diffusion steps when loading: it is a formula, and old files hold fewer
    # rows than the network.
    "motion_generator": CheckpointFormat(
        dropped=frozenset({"denoising_net.TE.pe"}), config=infer_generator_config, switches=("positional_encoding",)
    ),
    # The published file is older than the counters of batch norm, which only training reads.
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


def checkpoint_format(network: str | None) -> CheckpointFormat:
    """Return how the files of a network are read.

    Args:
        network: name for `joyvasa.networks.build`.
    """
    return _FORMATS.get(network or "", _PLAIN)
