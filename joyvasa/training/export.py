"""Export of a trained motion generator: as a model bundle, or as a checkpoint in the published layout."""

from __future__ import annotations

import argparse
import json
import pickle
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from joyvasa.bundles import Bundle, open_bundle
from joyvasa.bundles.bundle import TEMPLATE_ROLE
from joyvasa.bundles.checkpoints import ARGUMENTS
from joyvasa.bundles.conversion import check_new_folder, convert_to_folder, model_write_errors
from joyvasa.bundles.pretrained import SWITCHES
from joyvasa.bundles.registry import SPEC_NAME
from joyvasa.bundles.spec import BundleSpec, License, Role, Switches, read_spec
from joyvasa.config import config_from_dict
from joyvasa.errors import ModelError
from joyvasa.motion.sequence import MotionTemplate
from joyvasa.networks.motion_generator import MotionGeneratorConfig
from joyvasa.runtime.files import atomic_file, atomic_folder, atomic_write, hash_file
from joyvasa.training.checkpoint import Checkpoints, TrainingProgress, select_prefix
from joyvasa.training.config import TrainingConfig
from joyvasa.training.file_store import FileStore

GENERATOR_ROLE = "motion_generator"
PORTRAIT_ROLES = ("appearance_feature_extractor", "motion_extractor", "warping_module", "spade_generator")
LICENSE = "training"
TERMS = License(
    name="not stated", commercial="unclear", note="Trained with joyvasa: the terms of its data and encoder apply"
)


@dataclass(frozen=True)
class TrainedGenerator:
    """A motion generator from a checkpoint of a training run."""

    progress: TrainingProgress  # progress of the run at the checkpoint
    sizes: MotionGeneratorConfig  # sizes of the network
    state: Mapping[str, Tensor]  # tensors of the network by name; moving averages if the run computed them
    template: Mapping[str, Tensor]  # statistics of the motion by the names of JoyVASA's template

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of the network as published checkpoints store them in `args`."""
        sizes = asdict(self.sizes)
        encoder = {} if self.sizes.compact_encoder else {"audio_model": "hubert"}
        return {name: sizes[name] for name in ARGUMENTS} | encoder

    @property
    def switches(self) -> dict[str, Any]:
        """Switches that the network was trained for, see `joyvasa.bundles.spec.Switches`."""
        return {
            "positional_encoding": self.sizes.positional_encoding,
            "audio_normalization": "none",
            "audio_padding_samples": (0, 0),  # training windows start anywhere in a recording
            "frames_per_second": self.sizes.fps,
        }


def load_trained_generator(run: FileStore, step: int | None = None) -> TrainedGenerator:
    """Load the motion generator of the checkpoint of a step, by default of the best one.

    Raises:
        ModelError: `checkpoint_missing` or `checkpoint_damaged`.
    """
    checkpoints = Checkpoints(run)
    steps = checkpoints.steps()
    chosen = checkpoints.best_step() if step is None else step
    if chosen is None or chosen not in steps:
        available = ", ".join(map(str, steps)) or "none"
        raise ModelError(
            "checkpoint_missing",
            f"{run.root}: no checkpoint{'' if step is None else f' of step {step}'} (found: {available}); expected the "
            "folder of a training run: train first, or choose one of these steps",
        )

    progress, tensors = checkpoints.load(chosen)
    config = config_from_dict(TrainingConfig, progress.config, where=f"checkpoint {chosen} of {run.root}")
    template = select_prefix(tensors, "template.")
    MotionTemplate.from_arrays(template)  # raises if it is incomplete
    state = {**select_prefix(tensors, "model."), **select_prefix(tensors, "average.")}
    return TrainedGenerator(progress, config.network, state, template)


def check_bundle_arguments(out: Path, base: str | None) -> None:
    """Check the arguments of `write_bundle`, before a checkpoint is loaded.

    Raises:
        ModelError: the base is unknown or incomplete.
        OutputError: `output_exists`.
    """
    check_new_folder(out)
    if base is not None:
        open_bundle(base).require_roles(PORTRAIT_ROLES)


def write_bundle(trained: TrainedGenerator, out: Path, *, base: str | None = None) -> Bundle:
    """Write a bundle folder atomically.

    Args:
        trained: motion generator to write.
        out: new or empty folder.
        base: bundle whose other roles are copied; None for a bundle of the motion generator alone, which cannot
            animate by itself.

    Returns:
        The new bundle.

    Raises:
        ModelError: the base is unknown, incomplete or cannot be loaded.
        OutputError: `output_exists` or `models_not_written`.
    """
    out = out.absolute()
    check_bundle_arguments(out, base)
    name = re.sub(r"[^\w.-]", "-", out.name, flags=re.ASCII).lstrip("._-")[:80] or "trained"
    spec = BundleSpec(format_version=1, name=name, licenses={}, roles={})
    with model_write_errors(out), atomic_folder(out) as folder:
        if base is not None:
            source = open_bundle(base)
            used = {role for mode in ("human", "animal") for role in source.spec.roles_for_mode(mode)}
            used -= {GENERATOR_ROLE, TEMPLATE_ROLE}
            convert_to_folder(source, [role for role in source.spec.roles if role in used], folder)
            spec = read_spec(folder / SPEC_NAME)

        _add_role(folder, GENERATOR_ROLE, trained.state, {"arguments": json.dumps(trained.arguments, sort_keys=True)})
        _add_role(folder, TEMPLATE_ROLE, trained.template, {"format": "pt"})
        spec = _with_trained_roles(spec, trained, folder, name)
        text = yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, width=120)
        (folder / SPEC_NAME).write_text(text, encoding="utf-8")
    return open_bundle(out)


def write_published_checkpoint(trained: TrainedGenerator, path: Path) -> Path:
    """Write a checkpoint in JoyVASA's published layout (`args`, `model`, `iter`) and its motion template, atomically.

    The entry `switches` states what the network was trained for. A `pretrained_weights` folder with this checkpoint is
    read with them; JoyVASA's own program ignores them.

    Returns:
        Path of the motion template, a pickle with the published names and arrays: `NAME.template.pkl`.

    Raises:
        OutputError: `models_not_written`.
    """
    content = {
        "args": argparse.Namespace(**trained.arguments),
        "model": dict(trained.state),
        "iter": trained.progress.step,
        SWITCHES: trained.switches,
    }
    path = path.absolute()
    template = path.with_suffix(".template.pkl")
    with model_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(template, pickle.dumps({name: tensor.numpy() for name, tensor in trained.template.items()}))
        with atomic_file(path) as temporary, temporary.open("wb") as stream:
            torch.save(content, stream)
    return template


def _add_role(folder: Path, role: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    from safetensors.torch import save_file

    path = folder / f"{role}.safetensors"
    # safetensors writes several metadata entries in random order; equal weights must give equal files
    assert len(metadata) == 1
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, path, dict(metadata))
    path.chmod(0o644)  # safetensors creates private files


def _with_trained_roles(base: BundleSpec, trained: TrainedGenerator, folder: Path, name: str) -> BundleSpec:
    """Return the specification of the base with the trained roles added or replaced."""

    def role(key: str, **more: Any) -> Role:
        path = folder / f"{key}.safetensors"
        return Role(
            file=path.name,
            format="safetensors",
            bytes=path.stat().st_size,
            sha256=hash_file(path),
            license=LICENSE,
            modes=["human", "animal"],
            **more,
        )

    sizes, defaults = asdict(trained.sizes), asdict(MotionGeneratorConfig())
    # JSON and back turns tuples into lists, for YAML
    config = json.loads(json.dumps({key: value for key, value in sizes.items() if value != defaults[key]}))
    config.pop("positional_encoding", None)  # stored as a switch
    return BundleSpec(
        format_version=1,
        name=name,
        description=f"Motion generator trained with joyvasa: step {trained.progress.step} on data set "
        f"{trained.progress.dataset[:12]}",
        licenses={**base.licenses, LICENSE: TERMS},
        switches=Switches.model_validate(base.switches.model_dump() | trained.switches),
        roles={
            **base.roles,
            GENERATOR_ROLE: role(GENERATOR_ROLE, network="motion_generator", config=config),
            TEMPLATE_ROLE: role(TEMPLATE_ROLE),
        },
    )
