"""Turns published pickles into safetensors, once."""

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
from joyvasa.bundles.checkpoints import checkpoint_format
from joyvasa.bundles.generator import ARGUMENTS
from joyvasa.bundles.spec import BundleSpec, Role
from joyvasa.bundles.state import fit_state_dict
from joyvasa.bundles.weights import read_source_hash
from joyvasa.errors import ModelError, OutputError
from joyvasa.runtime.files import atomic_file, atomic_folder, hash_file

PICKLES = ("pytorch", "template-pickle")


@dataclass(frozen=True)
class ConvertedRole:
    """One role that was written.

    Args:
        role: for example `lip`.
        path: the new file.
        copied: taken over as it was, not converted.
    """

    role: str
    path: Path
    copied: bool = False


def convert_in_place(
    bundle: Bundle, roles: Iterable[str], *, on_role: Callable[[str], None] | None = None
) -> list[ConvertedRole]:
    """Writes `ROLE.safetensors` beside each pickle; the bundle takes it from then on.

    Args:
        bundle: whose files; what is not there, is no pickle, or was converted before is passed over.
        roles: names of roles.
        on_role: called before each.

    Returns:
        What was written.

    Raises:
        ModelError: a file does not load.
        OutputError: the folder cannot be written.
    """
    done = []
    for name in _present(bundle, roles):
        role = bundle.spec.roles[name]
        if role.format not in PICKLES or bundle.file(name) != bundle.path(role):
            continue  # no pickle, or converted before
        if role.sha256 is None:
            raise ModelError(
                "models_not_pinned",
                f"{bundle.path(role)}: not one of the published files, so a converted file beside it could not be "
                "told from another one: convert to a folder of its own (--out)",
            )
        if on_role:
            on_role(name)
        target = bundle.converted_path(name)
        _write(bundle, name, target)
        done.append(ConvertedRole(name, target))
    return done


def convert_to_folder(
    bundle: Bundle, roles: Iterable[str], out: Path, *, on_role: Callable[[str], None] | None = None
) -> list[ConvertedRole]:
    """Makes a complete bundle folder with a bundle.yaml; it appears whole or not at all.

    Args:
        bundle: the source; roles that are not there are left out.
        roles: names of roles.
        out: the new folder; must not exist, or be empty.
        on_role: called before each.

    Returns:
        What was written.

    Raises:
        ModelError: a file does not load.
        OutputError: the folder exists with files in it, or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError("output_exists", f"{out}: is there and not empty: choose another folder")
    done, entries = [], {}
    with model_write_errors(out), atomic_folder(out) as building:
        for name in _present(bundle, roles):
            if on_role:
                on_role(name)
            entries[name] = _add(bundle, name, building)
            file = entries[name].file
            if file:
                done.append(ConvertedRole(name, out / file, copied=entries[name].format == bundle.spec.roles[name].format))
        spec = bundle.spec.model_copy(update={"roles": entries})
        BundleSpec.model_validate(spec.model_dump())
        text = yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, width=120)
        (building / "bundle.yaml").write_text(text, encoding="utf-8")
    return done


@contextmanager
def model_write_errors(path: Path) -> Generator[None]:
    """Turn a failure to write weights into one sentence.

    Args:
        path: the file or folder that the block writes.

    Raises:
        OutputError: `models_not_written`.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError("models_not_written", f"{path}: cannot be written ({reason})") from None


def _present(bundle: Bundle, roles: Iterable[str]) -> list[str]:
    return [name for name in roles if bundle.has(name)]


def _add(bundle: Bundle, name: str, folder: Path) -> Role:
    """Puts one role into a new bundle folder and returns its entry there."""
    role = bundle.spec.roles[name]
    if role.file is None:
        return role
    changes: dict[str, Any] = {"older": [], "source": None}
    if role.format in PICKLES:
        target = folder / f"{name}.safetensors"
        _write(bundle, name, target)
        changes |= {"format": "safetensors", "entry": None}
    else:
        target = folder / f"{name}{Path(role.file).suffix}"
        shutil.copyfile(bundle.file(name), target)
    changes |= {"file": target.name, "bytes": target.stat().st_size, "sha256": hash_file(target)}
    return role.model_copy(update=changes)


def _write(bundle: Bundle, name: str, target: Path) -> None:
    """Loads a pickle, checks that it fits, and writes its tensors under the network's names."""
    from safetensors.torch import save_file

    role = bundle.spec.roles[name]
    source = bundle.file(name)
    origin = read_source_hash(source) if source.suffix == ".safetensors" else bundle.cache.sha256(source)
    metadata = {"format": "pt", "role": name, "source_file": str(role.file), "source_sha256": origin or ""}
    tensors: dict[str, Tensor]
    if name == TEMPLATE_ROLE:
        tensors = {key: torch.from_numpy(array) for key, array in bundle.load_template_arrays().items()}
    else:
        weights = bundle.load_weights(name)
        network = bundle.build_for(name, weights)
        tensors = fit_state_dict(weights.state, network, weights.where, checkpoint_format(role.network).dropped)
        told = {key: weights.arguments[key] for key in (*ARGUMENTS, "audio_model") if key in weights.arguments}
        metadata["arguments"] = json.dumps(told, sort_keys=True)
    with model_write_errors(target), atomic_file(target) as temporary:
        # clone: the format takes no tensors that share memory
        save_file({key: tensor.clone().contiguous() for key, tensor in tensors.items()}, temporary, metadata)
