"""Match the tensors of a weight file to a network, strictly."""

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
_ENCODER_PREFIXES = ("wav2vec2.", "hubert.")  # prefixes of the encoder in Hugging Face models with a head
_SHOWN_NAMES = 3  # per problem in an error


def adapt_state_keys(state: Mapping[str, Tensor], expected: Collection[str], where: str) -> dict[str, Tensor]:
    """Rename keys that differ by convention only: the prefix `module.` of data parallelism, old and new weight norm.

    Raises:
        ModelError: two entries of the file match the same name.
    """
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        match = next((candidate for candidate in _candidate_names(name) if candidate in expected), name)
        if match in result:
            raise ModelError("weights_mismatch", f"{where}: contains {match} twice, the second time as {name}")
        result[match] = tensor
    return result


def _candidate_names(name: str) -> list[str]:
    bare = ".".join(part for part in name.split(".") if part != "module")
    names = [name, bare, *(bare.removeprefix(prefix) for prefix in _ENCODER_PREFIXES)]
    for old, new in _WEIGHT_NORM.items():
        names += [item.removesuffix(old) + new for item in names[:4] if item.endswith("." + old)]
        names += [item.removesuffix(new) + old for item in names[:4] if item.endswith("." + new)]
    return names


def fit_state_dict(
    state: Mapping[str, Tensor], network: nn.Module, where: str, dropped: Collection[str] = ()
) -> dict[str, Tensor]:
    """Return the tensors of a file under the names of a network, and check names and shapes.

    Returns:
        Tensors for all names of the network except the dropped ones.

    Raises:
        ModelError: keys are missing or unexpected, or shapes differ; the error lists them.
    """
    expected = {name: tensor for name, tensor in network.state_dict().items() if name not in dropped}
    named = adapt_state_keys(state, {*expected, *dropped}, where)
    given = {name: tensor for name, tensor in named.items() if name not in dropped}

    problems = [
        _format_names("missing", sorted(expected.keys() - given.keys())),
        _format_names("not expected", sorted(given.keys() - expected.keys())),
        _format_names(
            "of another shape",
            [
                f"{name} has {tuple(given[name].shape)}, expected {tuple(expected[name].shape)}"
                for name in expected
                if name in given and given[name].shape != expected[name].shape
            ],
        ),
    ]
    if any(problems):
        raise ModelError(
            "weights_mismatch",
            f"{where}: does not fit {type(network).__name__}: {'; '.join(filter(None, problems))}: "
            "check `config` and `network` of the role",
        )
    return given


def _format_names(problem: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return f"{len(names)} {'key' if len(names) == 1 else 'keys'} {problem} ({', '.join(names[:_SHOWN_NAMES])}{more})"
