"""What a run becomes: a bundle folder, or a checkpoint file in the layout of the published ones."""

from __future__ import annotations

import argparse
import json
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
from joyvasa.bundles.convert import convert_to_folder, models_output
from joyvasa.bundles.generator import ARGUMENTS
from joyvasa.bundles.registry import SPEC_NAME
from joyvasa.bundles.spec import BundleSpec, License, Role, Switches, read_spec
from joyvasa.config import config_from
from joyvasa.errors import ModelError, OutputError
from joyvasa.motion.sequence import MotionTemplate
from joyvasa.networks.motion_generator import MotionGeneratorConfig
from joyvasa.runtime.files import atomic_file, atomic_folder, sha256_of
from joyvasa.training.checkpoint import Checkpoints, TrainingProgress
from joyvasa.training.config import TrainingConfig
from joyvasa.training.file_store import FileStore

GENERATOR_ROLE = "motion_generator"
PORTRAIT_ROLES = ("appearance_feature_extractor", "motion_extractor", "warping_module", "spade_generator")
LICENSE = "training"
TERMS = License(
    name="not stated", commercial="unclear", note="Trained with joyvasa: the terms of its data and encoder hold"
)


@dataclass(frozen=True)
class TrainedGenerator:
    """A motion generator as a run left it.

    Args:
        progress: where the run stood.
        sizes: of the network.
        state: its tensors by name, averaged ones where the run kept averages.
        template: statistics of its motion by the names of JoyVASA's template.
    """

    progress: TrainingProgress
    sizes: MotionGeneratorConfig
    state: Mapping[str, Tensor]
    template: Mapping[str, Tensor]

    @property
    def arguments(self) -> dict[str, Any]:
        """What a published checkpoint states in its `args`."""
        sizes = asdict(self.sizes)
        named = {} if self.sizes.compact_encoder else {"audio_model": "hubert"}
        return {name: sizes[name] for name in ARGUMENTS} | named


def load_trained_generator(run: FileStore, step: int | None = None) -> TrainedGenerator:
    """The motion generator of a checkpoint.

    Args:
        run: a training run.
        step: of the checkpoint; None for the best one.

    Raises:
        ModelError: `checkpoint_missing` or `checkpoint_damaged`.
    """
    checkpoints = Checkpoints(run)
    steps = checkpoints.steps()
    chosen = checkpoints.best() if step is None else step
    if chosen is None or chosen not in steps:
        found = ", ".join(map(str, steps)) or "none"
        raise ModelError(
            "checkpoint_missing",
            f"{run.root}: no checkpoint{'' if step is None else f' of step {step}'} (found: {found}); expected the "
            "folder of a training run: train first, or choose one of these steps",
        )
    progress, tensors = checkpoints.load(chosen)

    def named(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    config = config_from(TrainingConfig, progress.config, where=f"checkpoint {chosen} of {run.root}")
    template = named("template.")
    MotionTemplate.from_arrays(template)
    return TrainedGenerator(progress, config.network, {**named("model."), **named("average.")}, template)


def write_bundle(trained: TrainedGenerator, out: Path, *, base: str | None = None) -> Bundle:
    """Makes a bundle folder; it appears whole or not at all.

    Args:
        trained: the motion generator.
        out: the new folder; must not exist, or be empty.
        base: bundle from which everything else is taken, with its files; None for a bundle of the motion generator
            alone, which animates nothing by itself.

    Returns:
        the bundle.

    Raises:
        ModelError: the base is unknown, incomplete or does not load.
        OutputError: `output_exists` or `models_not_written`.
    """
    out = out.absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError("output_exists", f"{out}: is there and not empty: choose another folder")
    name = re.sub(r"[^\w.-]", "-", out.name, flags=re.ASCII).lstrip("._-")[:80] or "trained"
    spec = BundleSpec(format_version=1, name=name, licenses={}, roles={})
    with models_output(out), atomic_folder(out) as folder:
        if base is not None:
            source = open_bundle(base)
            source.require(PORTRAIT_ROLES)
            own = (GENERATOR_ROLE, TEMPLATE_ROLE)
            used = {role for mode in ("human", "animal") for role in source.spec.of_mode(mode)}
            convert_to_folder(source, [role for role in source.spec.roles if role in used - {*own}], folder)
            spec = read_spec(folder / SPEC_NAME)
        _add_role(folder, GENERATOR_ROLE, trained.state, {"arguments": json.dumps(trained.arguments, sort_keys=True)})
        _add_role(folder, TEMPLATE_ROLE, trained.template, {"format": "pt"})
        spec = _joined(spec, trained, folder, name)
        text = yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, width=120)
        (folder / SPEC_NAME).write_text(text, encoding="utf-8")
    return open_bundle(out)


def write_published_checkpoint(trained: TrainedGenerator, path: Path) -> None:
    """Writes a checkpoint as JoyVASA publishes them: `args`, `model` and `iter`; it appears whole or not at all.

    Args:
        trained: the motion generator.
        path: the file, usually ending in `.pt`; replaced if it is there.

    Raises:
        OutputError: `models_not_written`.
    """
    content = {
        "args": argparse.Namespace(**trained.arguments),
        "model": dict(trained.state),
        "iter": trained.progress.step,
    }
    path = path.absolute()
    with models_output(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as temporary, temporary.open("wb") as stream:
            torch.save(content, stream)


def _add_role(folder: Path, role: str, tensors: Mapping[str, Tensor], told: Mapping[str, str]) -> None:
    from safetensors.torch import save_file

    path = folder / f"{role}.safetensors"
    # One entry of metadata: several come in another order each time, and the same weights are to be the same file.
    assert len(told) == 1
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, path, dict(told))
    path.chmod(0o644)  # safetensors makes private files


def _joined(base: BundleSpec, trained: TrainedGenerator, folder: Path, name: str) -> BundleSpec:
    """The description of a bundle with the trained roles in the place of, or beside, those of its base."""

    def role(key: str, **more: Any) -> Role:
        path = folder / f"{key}.safetensors"
        return Role(
            file=path.name,
            format="safetensors",
            bytes=path.stat().st_size,
            sha256=sha256_of(path),
            license=LICENSE,
            modes=["human", "animal"],
            **more,
        )

    sizes, usual = asdict(trained.sizes), asdict(MotionGeneratorConfig())
    # JSON and back: YAML of this format knows lists and no tuples.
    stated = json.loads(json.dumps({key: value for key, value in sizes.items() if value != usual[key]}))
    stated.pop("positional_encoding", None)  # a switch
    switches = base.switches.model_dump() | {
        "positional_encoding": trained.sizes.positional_encoding,
        "audio_normalisation": "none",
        "audio_padding_samples": (0, 0),  # windows of training begin anywhere in a recording
        "frames_per_second": trained.sizes.fps,
    }
    return BundleSpec(
        format_version=1,
        name=name,
        description=f"Motion generator trained with joyvasa: step {trained.progress.step} on data set "
        f"{trained.progress.dataset[:12]}",
        licenses={**base.licenses, LICENSE: TERMS},
        switches=Switches.model_validate(switches),
        roles={
            **base.roles,
            GENERATOR_ROLE: role(GENERATOR_ROLE, network="motion_generator", config=stated),
            TEMPLATE_ROLE: role(TEMPLATE_ROLE),
        },
    )
