"""Peculiarities of published checkpoint files, by network."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from joyvasa.bundles.weights import Weights
from joyvasa.errors import ModelError

# Training arguments in the checkpoint that determine sizes of the network. The published program also stores n_heads,
# n_layers, mlp_ratio and use_indicator but does not use them: published files state 6 layers and contain 8.
ARGUMENTS = (
    "motion_feat_dim",
    "n_motions",
    "n_prev_motions",
    "feature_dim",
    "n_diff_steps",
    "diff_schedule",
    "target",
    "fps",
)

# Prefixes of speech encoder names (hubert_zh, hubert_zh_ori, wav2vec2 ...); all are base models of one architecture.
ENCODERS = ("hubert", "wav2vec2")

_STEP_TABLE = "denoising_net.TE.pe"


@dataclass(frozen=True)
class CheckpointFormat:
    """How to read the checkpoint of a network. The defaults fit files that contain only the network's tensors."""

    dropped: frozenset[str] = frozenset()  # names of tensors that are ignored in the file and may be missing from it
    # function that derives the network configuration from the file and the `config` of its role; None if bundle.yaml
    # states the whole configuration
    config: Callable[[Weights, Mapping[str, Any]], dict[str, Any]] | None = None
    switches: tuple[str, ...] = ()  # switches of the bundle that are options of the network


_DEFAULT = CheckpointFormat()


def infer_generator_config(weights: Weights, stated: Mapping[str, Any]) -> dict[str, Any]:
    """Infer the keyword arguments of `joyvasa.networks.build("motion_generator")`.

    Args:
        weights: checkpoint, with the names of the file or of the network.
        stated: `config` of the role in bundle.yaml, for sizes that a checkpoint does not state.

    Raises:
        ModelError: arguments, tensor shapes and bundle.yaml are inconsistent, or the speech encoder is unknown.
    """
    arguments = {name: weights.arguments[name] for name in ARGUMENTS if weights.arguments.get(name) is not None}
    shapes = _sizes_from_shapes(weights)

    for source, values in (("its args say", arguments), ("bundle.yaml says", stated)):
        for name, value in shapes.items():
            if name in values and values[name] != value:
                raise ModelError(
                    "weights_mismatch",
                    f"{weights.where}: {source} {name} {values[name]!r} but its tensors have {value}: "
                    "the file is damaged or of another kind",
                )
    for name in arguments.keys() & stated.keys():
        if arguments[name] != stated[name]:
            raise ModelError(
                "weights_mismatch",
                f"{weights.where}: its args say {name} {arguments[name]!r} and bundle.yaml says {stated[name]!r}: "
                "correct bundle.yaml",
            )
    _check_step_table(weights, {**arguments, **shapes})

    encoder = weights.arguments.get("audio_model")
    if encoder is not None and not str(encoder).startswith(ENCODERS):
        raise ModelError(
            "weights_mismatch",
            f"{weights.where}: made for the speech encoder {str(encoder)[:40]!r}; "
            f"expected a base model of {' or '.join(ENCODERS)}: use another checkpoint",
        )
    return {**stated, **arguments, **shapes}


def _sizes_from_shapes(weights: Weights) -> dict[str, int]:
    state = {".".join(part for part in name.split(".") if part != "module"): t for name, t in weights.state.items()}

    def size(name: str, dimension: int, dimensions: int) -> int | None:
        tensor = state.get(name)
        return tensor.shape[dimension] if tensor is not None and tensor.ndim == dimensions else None

    rows = size("diffusion_sched.betas", 0, 1)
    tokens, previous = size("denoising_net.alignment_mask", 0, 2), size("start_motion_feat", 1, 3)
    layers = {match[1] for name in state if (match := re.match(r"denoising_net\.transformer\.layers\.(\d+)\.", name))}
    sizes = {
        "n_prev_motions": previous,
        "n_motions": tokens - previous if tokens and previous else None,
        "motion_feat_dim": size("start_motion_feat", 2, 3),
        "feature_dim": size("start_audio_feat", 2, 3),
        "n_diff_steps": rows - 1 if rows else None,  # row 0 is the step without noise
        "decoder_layers": len(layers) or None,
        "decoder_hidden": size("denoising_net.transformer.layers.0.linear1.weight", 0, 2),
    }
    return {name: value for name, value in sizes.items() if value is not None}


def _check_step_table(weights: Weights, sizes: Mapping[str, Any]) -> None:
    """Check that the dropped table has a row for every step; the published code writes at most 501 rows."""
    table = weights.state.get(_STEP_TABLE)
    steps = sizes.get("n_diff_steps")
    if table is not None and steps is not None and table.ndim == 3 and table.shape[1] < steps + 1:
        raise ModelError(
            "weights_mismatch",
            f"{weights.where}: {_STEP_TABLE} has {table.shape[1]} rows but n_diff_steps is {steps}, "
            f"which needs {steps + 1}: the file is damaged or of another kind",
        )


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
    """Return the checkpoint format of a network."""
    return _FORMATS.get(network or "", _DEFAULT)
