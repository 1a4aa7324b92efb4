"""Fits the names of a weight file to those of a network, strictly."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from joyvasa.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

_WEIGHT_NORM = {
    "weight_g": "parametrizations.weight.original0",
    "weight_v": "parametrizations.weight.original1",
}
_ENCODER_PREFIXES = ("wav2vec2.", "hubert.")  # of the encoder inside a Hugging Face model with a head
_SHOWN = 3


def adapt_state_keys(state: Mapping[str, Tensor], expected: Collection[str], where: str) -> dict[str, Tensor]:
    """Renames what differs by habit only: data-parallel `module.`, weight norm old and new.

    Args:
        state: tensors by the file's names.
        expected: names of the network.
        where: the file, for messages.

    Returns:
        The same tensors; names that fit nothing are kept as they are.

    Raises:
        ModelError: two entries of the file get the same name.
    """
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        fitting = next((candidate for candidate in _candidates(name) if candidate in expected), name)
        if fitting in result:
            raise ModelError("weights_mismatch", f"{where}: holds {fitting} twice, the second time as {name}")
        result[fitting] = tensor
    return result


def _candidates(name: str) -> list[str]:
    bare = ".".join(part for part in name.split(".") if part != "module")
    names = [name, bare, *(bare.removeprefix(prefix) for prefix in _ENCODER_PREFIXES)]
    for old, new in _WEIGHT_NORM.items():
        names += [item.removesuffix(old) + new for item in names[:4] if item.endswith("." + old)]
        names += [item.removesuffix(new) + old for item in names[:4] if item.endswith("." + new)]
    return names


def fit_state_dict(
    state: Mapping[str, Tensor], network: nn.Module, where: str, dropped: Collection[str] = ()
) -> dict[str, Tensor]:
    """The file's tensors under the network's names, complete and of the right shapes.

    Args:
        state: tensors by the file's names.
        network: what they are for.
        where: the file, for messages.
        dropped: names that are not taken from the file.

    Returns:
        Tensors for all names of the network but the dropped ones.

    Raises:
        ModelError: names are missing or left over, or shapes differ; says which, how many, and both shapes.
    """
    own = {name: tensor for name, tensor in network.state_dict().items() if name not in dropped}
    named = adapt_state_keys(state, {*own, *dropped}, where)
    given = {name: tensor for name, tensor in named.items() if name not in dropped}
    problems = [
        _listed("missing", sorted(own.keys() - given.keys())),
        _listed("not expected", sorted(given.keys() - own.keys())),
        _listed(
            "of another shape",
            [
                f"{name} has {tuple(given[name].shape)}, expected {tuple(own[name].shape)}"
                for name in own
                if name in given and given[name].shape != own[name].shape
            ],
        ),
    ]
    found = "; ".join(filter(None, problems))
    if found:
        raise ModelError(
            "weights_mismatch",
            f"{where}: does not fit {type(network).__name__}: {found}: check `config` and `network` of the role",
        )
    return given


def load_network_state(network: nn.Module, state: Mapping[str, Tensor], where: str, dropped: Collection[str] = ()) -> None:
    """Puts a file's tensors into a network; see `fit_state_dict`."""
    network.load_state_dict({**network.state_dict(), **fit_state_dict(state, network, where, dropped)}, strict=True)


def _listed(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} {'key' if len(names) == 1 else 'keys'} {what} ({', '.join(names[:_SHOWN])}{more})"
