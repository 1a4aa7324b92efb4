"""Published files of Q-Align (`one-align` on the Hugging Face hub): weights, sizes and tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joyvasa.errors import ConfigError, EnvironmentFault, ModelError
from joyvasa.runtime.parsing import parse_json

if TYPE_CHECKING:
    import torch

    from joyvasa.bundles import Bundle
    from joyvasa.metrics.support.q_align import Tokenize
    from joyvasa.networks.metrics.mplug_owl2 import MplugOwl2, MplugOwl2Config

ROLES = ("one_align_1", "one_align_2")  # the two safetensors files; the files below are in the folder of the first
CONFIG = "config.json"
TOKENIZER = "tokenizer.model"

MAX_CONFIG_BYTES = 1 << 20
MAX_SIZE = 1 << 17  # limit of sizes in the configuration; the largest published one is 32000
MAX_LAYERS = 256


def load_one_align(bundle: Bundle, device: torch.device, dtype: torch.dtype) -> MplugOwl2:
    """Build the model on the device tensor by tensor, so that the host holds one tensor at a time.

    Args:
        bundle: bundle with the roles of `ROLES`.
        device: device of the weights, which need 16.4 GB in half precision.
        dtype: data type of the weights.

    Raises:
        ModelError: a file is missing or damaged, or has the wrong shape.
    """
    import torch

    from joyvasa.bundles.state import fit_state_dict
    from joyvasa.networks.metrics.mplug_owl2 import MplugOwl2

    config = read_model_config(adjacent_file(bundle, CONFIG))
    with torch.device("meta"):
        model = MplugOwl2(config)
    state: dict[str, torch.Tensor] = {}
    for path in dict.fromkeys(bundle.find_file(role) for role in ROLES):
        for name, tensor in _read_tensors(path, {*model.state_dict()} - {*state}, device, dtype):
            state[name] = tensor
    state = fit_state_dict(state, model, str(bundle.find_file(ROLES[0]).parent))
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def read_model_config(path: Path) -> MplugOwl2Config:
    """Read the sizes of the model.

    Args:
        path: `config.json` of a published model; missing entries have the published values.

    Raises:
        ModelError: the file cannot be read, or a size is out of range.
    """
    from joyvasa.networks.metrics.mplug_owl2 import AbstractorConfig, LanguageConfig, MplugOwl2Config, VisionConfig

    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_CONFIG_BYTES + 1)
        content = parse_json(data) if len(data) <= MAX_CONFIG_BYTES else None
    except (OSError, ValueError) as error:
        raise ModelError("weights_damaged", f"{path}: cannot be read ({type(error).__name__}): get it again") from None
    if not isinstance(content, dict):
        raise ModelError("weights_damaged", f"{path}: no JSON object of a few kilobytes: get it again")
    visual = _mapping(content, "visual_config")
    epsilon = content.get("rms_norm_eps", 1e-6)
    try:
        return MplugOwl2Config(
            language=LanguageConfig(**_sizes(content, LanguageConfig)),
            vision=VisionConfig(**_sizes(_mapping(visual, "visual_model"), VisionConfig)),
            abstractor=AbstractorConfig(**_sizes(_mapping(visual, "visual_abstractor"), AbstractorConfig)),
            rms_norm_eps=epsilon if isinstance(epsilon, float) else 0.0,
        )
    except ConfigError as error:
        raise ModelError("weights_damaged", f"{path}: {error.sentence}") from None


def read_tokenizer(path: Path) -> Tokenize:
    """Read LLaMA's SentencePiece model: a function from text to tokens that starts with the begin-of-sequence token.

    Raises:
        EnvironmentFault: `sentencepiece_missing`.
        ModelError: the file is missing or damaged.
    """
    try:
        sentencepiece = import_module("sentencepiece")
    except ImportError:
        raise EnvironmentFault(
            "sentencepiece_missing",
            f"{path}: the package sentencepiece, which reads it, is not installed: install joyvasa[quality]",
        ) from None
    try:
        processor = sentencepiece.SentencePieceProcessor()
        processor.LoadFromSerializedProto(path.read_bytes())
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError("weights_damaged", f"{path}: cannot be read as SentencePiece ({reason})") from None
    return lambda text: [processor.bos_id(), *processor.EncodeAsIds(text)]


def adjacent_file(bundle: Bundle, name: str) -> Path:
    """Return the path of a file in the folder of the weights.

    Raises:
        ModelError: `models_missing`, or the file is a link that leads out of the bundle.
    """
    path = bundle.find_file(ROLES[0]).with_name(name)
    if not path.is_file():
        raise ModelError(
            "models_missing", f"{path}: no such file: download it from the source of the weights in this folder"
        )
    bundle.check_path_inside(path)
    return path


def _read_tensors(path: Path, wanted: set[str], device: torch.device, dtype: torch.dtype) -> Any:
    """Yield names and tensors; reject unexpected tensors before reading any."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            if unknown := sorted({*file.keys()} - wanted):
                raise ModelError(
                    "weights_mismatch",
                    f"{path}: holds {unknown[0]} and {len(unknown) - 1} more that the model does not have, or has from "
                    "another file: get the files of one-align",
                )
            for name in file.keys():
                yield name, file.get_tensor(name).to(dtype)
    except (SafetensorError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError("weights_damaged", f"{path}: cannot be read as safetensors ({reason}): get it again") from None


def _sizes(content: Mapping[str, Any], kind: type) -> dict[str, int]:
    sizes = {field.name: content[field.name] for field in fields(kind) if field.name in content}
    for name, value in sizes.items():
        limit = MAX_LAYERS if name == "num_hidden_layers" else MAX_SIZE
        if type(value) is not int or not 1 <= value <= limit:
            raise ConfigError("bad_network_size", f"{name}: found {value!r}; expected 1 to {limit}: get it again")
    return sizes


def _mapping(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = content.get(name)
    return part if isinstance(part, dict) else {}
