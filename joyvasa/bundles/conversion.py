"""Convert published pickle files to safetensors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from joyvasa.bundles.bundle import TEMPLATE_ROLE, Bundle
from joyvasa.bundles.checkpoints import ARGUMENTS, get_checkpoint_format
from joyvasa.bundles.spec import BundleSpec, Role
from joyvasa.bundles.state import fit_state_dict
from joyvasa.bundles.weights import read_source_hash
from joyvasa.errors import ModelError, OutputError
from joyvasa.runtime.files import atomic_file, atomic_folder, hash_file

PICKLES = ("pytorch", "template-pickle")


@dataclass(frozen=True)
class ConvertedRole:
    """A role that was converted."""

    role: str  # name of the role, for example `lip`
    path: Path  # path of the new file
    copied: bool = False  # whether the file was copied unchanged


def convert_in_place(
    bundle: Bundle, roles: Iterable[str], *, on_role: Callable[[str], None] | None = None
) -> list[ConvertedRole]:
    """Write `ROLE.safetensors` next to each pickle without one. The bundle uses the new files from then on.

    Returns:
        The converted roles.

    Raises:
        ModelError: a file does not load.
        OutputError: the folder cannot be written.
    """
    converted = []
    for name in _available_roles(bundle, roles):
        role = bundle.spec.roles[name]
        if role.format not in PICKLES or bundle.find_file(name) != bundle.published_path(role):
            continue
        if role.sha256 is None:
            raise ModelError(
                "models_not_pinned",
                f"{bundle.published_path(role)}: not one of the published files, so a converted file next to it could "
                "not be matched to it: convert to a separate folder (--out)",
            )

        if on_role:
            on_role(name)
        target = bundle.converted_path(name)
        _write_safetensors(bundle, name, target)
        converted.append(ConvertedRole(name, target))
    return converted


def convert_to_folder(
    bundle: Bundle, roles: Iterable[str], out: Path, *, on_role: Callable[[str], None] | None = None
) -> list[ConvertedRole]:
    """Write a complete bundle folder with a bundle.yaml and the available ones of the roles, atomically.

    Returns:
        The converted roles.

    Raises:
        ModelError: a file does not load.
        OutputError: the folder is not empty or cannot be written.
    """
    check_new_folder(out)
    converted, entries = [], {}
    with model_write_errors(out), atomic_folder(out) as temporary:
        for name in _available_roles(bundle, roles):
            if on_role:
                on_role(name)
            entries[name] = _add_role(bundle, name, temporary)
            file = entries[name].file
            if file:
                copied = entries[name].format == bundle.spec.roles[name].format
                converted.append(ConvertedRole(name, out / file, copied))

        spec = bundle.spec.model_copy(update={"roles": entries})
        BundleSpec.model_validate(spec.model_dump())
        text = yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, width=120)
        (temporary / "bundle.yaml").write_text(text, encoding="utf-8")
    return converted


def check_new_folder(path: Path) -> None:
    """Check that a folder does not exist or is empty.

    Raises:
        OutputError: `output_exists`.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise OutputError("output_exists", f"{path}: exists and is not empty: choose another folder")


@contextmanager
def model_write_errors(path: Path) -> Generator[None]:
    """Convert exceptions of a block that writes weights to an OutputError.

    Raises:
        OutputError: `models_not_written`.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError("models_not_written", f"{path}: cannot be written ({reason})") from None


def _available_roles(bundle: Bundle, roles: Iterable[str]) -> list[str]:
    return [name for name in roles if bundle.has_role(name)]


def _add_role(bundle: Bundle, name: str, folder: Path) -> Role:
    """Write the file of a role to a new bundle folder and return its entry in the new bundle.yaml."""
    role = bundle.spec.roles[name]
    if role.file is None:
        return role
    changes: dict[str, Any] = {"older": [], "source": None}
    if role.format in PICKLES:
        target = folder / f"{name}.safetensors"
        _write_safetensors(bundle, name, target)
        changes |= {"format": "safetensors", "entry": None}
    else:
        target = folder / f"{name}{Path(role.file).suffix}"
        shutil.copyfile(bundle.find_file(name), target)
    changes |= {"file": target.name, "bytes": target.stat().st_size, "sha256": hash_file(target)}
    return role.model_copy(update=changes)


def _write_safetensors(bundle: Bundle, name: str, target: Path) -> None:
    """Load a pickle, check that it fits the network, and write its tensors under the network's names."""
    from safetensors.torch import save_file

    role = bundle.spec.roles[name]
    source = bundle.find_file(name)
    origin = read_source_hash(source) if source.suffix == ".safetensors" else bundle.cache.sha256(source)
    metadata = {"format": "pt", "role": name, "source_file": str(role.file), "source_sha256": origin or ""}

    tensors: dict[str, Tensor]
    if name == TEMPLATE_ROLE:
        tensors = {key: torch.from_numpy(array) for key, array in bundle.load_template_arrays().items()}
    else:
        weights = bundle.load_weights(name)
        network = bundle.build_network(name, weights)
        tensors = fit_state_dict(weights.state, network, weights.where, get_checkpoint_format(role.network).dropped)
        arguments = {key: weights.arguments[key] for key in (*ARGUMENTS, "audio_model") if key in weights.arguments}
        metadata["arguments"] = json.dumps(arguments, sort_keys=True)

    with model_write_errors(target), atomic_file(target) as temporary:
        # clone: safetensors rejects tensors that share memory
        save_file({key: tensor.clone().contiguous() for key, tensor in tensors.items()}, temporary, metadata)
