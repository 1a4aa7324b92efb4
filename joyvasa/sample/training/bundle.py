"""Write the bundle `sample` from the trained networks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from joyvasa.bundles import Bundle, open_bundle
from joyvasa.bundles.bundle import TEMPLATE_ROLE
from joyvasa.bundles.registry import SPEC_NAME
from joyvasa.bundles.spec import BundleSpec
from joyvasa.errors import OutputError
from joyvasa.networks.motion_generator import MotionGeneratorConfig
from joyvasa.runtime.files import hash_file
from joyvasa.sample.training.corpus import FaceBasis
from joyvasa.sample.training.training_loop import load_averaged_weights
from joyvasa.training.export import GENERATOR_ROLE, TrainedGenerator

# Network of each role, and the task and prefix of its weights in the checkpoints of `train_task`.
ROLES = {
    "appearance_feature_extractor": ("compact_appearance", "renderer", "appearance."),
    "motion_extractor": ("compact_motion_extractor", "keypoints", ""),
    "warping_module": ("compact_warping", "renderer", "warping."),
    "spade_generator": ("compact_generator", "painter", ""),
}
# Animals have their own motion extractor; the weights of the other networks are those of people.
ANIMAL = "animal_"
ANIMAL_EXTRACTOR = ("compact_animal_motion_extractor", "animals", "landmarks.")
ANIMAL_NETWORKS = {
    "warping_module": {"network": "compact_animal_warping"},
    "spade_generator": {"network": "compact_animal_generator"},
}
# Warped pixels fit the shoulders, and closed lips have no expression, so stitching and lip correction do nothing.
CORRECT_NOTHING = {"format": "generated", "config": {"hidden": [1]}, "constants": {"*": 0.0}}
LICENSE = "project"
TERMS = {"name": "MIT", "commercial": "yes", "note": "See README.md next to the weights"}
BACKBONE_LICENSE = "backbone"
BACKBONE_TERMS = {
    "name": "MIT and Apache-2.0",
    "commercial": "yes",
    "note": "Starts from EfficientNet-Lite0, Apache-2.0",
}
HEAD, FINDER = "head.", "finder."  # parts of the motion extractor; only the finder is trained


def write_sample_bundle(work: Path, trained: TrainedGenerator, mean: np.ndarray, out: Path) -> Bundle:
    """Write the bundle folder; an existing bundle is replaced, except for its *.md files.

    Matrices are stored in half precision, which halves the file size and moves keypoints by less than 0.01 pixels.

    Args:
        work: folder of the checkpoints of `train_task`.
        trained: trained motion generator.
        mean: mean head, see `mean_head`.
        out: folder of the bundle.

    Raises:
        ModelError: `checkpoint_missing`, or any error of opening the bundle.
        OutputError: `output_exists` if the folder exists and is not a bundle.
    """
    if out.exists() and not (out / SPEC_NAME).is_file():
        raise OutputError("output_exists", f"{out}: exists and is no bundle: choose another folder")
    building = out.with_name(f".{out.name}.part")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)

    basis = FaceBasis(mean)
    roles: dict[str, Any] = {}
    for role, (network, task, prefix) in ROLES.items():
        state = load_averaged_weights(work, task, prefix)
        if role == "motion_extractor":
            state = {FINDER + name: value for name, value in state.items()}
            state[HEAD + "mean"] = torch.from_numpy(basis.neutral).float()
            state[HEAD + "opening"] = torch.from_numpy(basis.parts["jaw"]).float()
        roles[role] = {"network": network} | _save_weights(building, role, state)
    roles |= {ANIMAL + role: roles[role] | ANIMAL_NETWORKS.get(role, {}) for role in ROLES}
    network, _, prefix = ANIMAL_EXTRACTOR
    state = {prefix + name: value for name, value in load_averaged_weights(work, "animals").items()}
    entry = _save_weights(building, ANIMAL + "motion_extractor", state)
    roles[ANIMAL + "motion_extractor"] = {"network": network, "license": BACKBONE_LICENSE} | entry
    sizes, defaults = asdict(trained.sizes), asdict(MotionGeneratorConfig())
    stated = {name: value for name, value in sizes.items() if value != defaults[name] and name != "positional_encoding"}
    entry = _save_weights(building, GENERATOR_ROLE, trained.state)
    roles[GENERATOR_ROLE] = {"network": "motion_generator", "config": stated} | entry
    roles[TEMPLATE_ROLE] = _save_weights(building, TEMPLATE_ROLE, trained.template)
    roles |= {role: {"network": role} | CORRECT_NOTHING for role in ("stitching", "lip")}
    for name, role in roles.items():
        only_people = [] if name.startswith(ANIMAL) else ["human"]
        only_animals = [] if name in ROLES else ["animal"]
        role |= {"license": role.get("license", LICENSE), "modes": only_people + only_animals}

    content = {
        "format_version": 1,
        "name": "sample",
        "description": "Small networks trained by this project, for trials without a download",
        "licenses": {LICENSE: TERMS, BACKBONE_LICENSE: BACKBONE_TERMS},
        "switches": {
            "absolute_expression": True,
            "input_size": 256,
            "output_size": 256,
            "frames_per_second": trained.sizes.fps,
        },
        "roles": roles,
    }
    spec = BundleSpec.model_validate(json.loads(json.dumps(content)))  # tuples become lists
    text = yaml.safe_dump(spec.model_dump(mode="json", exclude_defaults=True), sort_keys=False, width=120)
    (building / SPEC_NAME).write_text(text, encoding="utf-8")

    if out.exists():
        for document in out.glob("*.md"):
            shutil.copyfile(document, building / document.name)
        shutil.rmtree(out)
    building.replace(out)
    return open_bundle(str(out))


def _save_weights(folder: Path, role: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    from safetensors.torch import save_file

    def pack(tensor: Tensor) -> Tensor:
        # Vectors keep their precision: they include variances, which half precision would round to zero.
        packed = tensor.half() if tensor.ndim > 1 and tensor.dtype == torch.float32 else tensor
        return packed.clone().contiguous()

    path = folder / f"{role}.safetensors"
    exact = role == TEMPLATE_ROLE
    save_file({name: value.clone() if exact else pack(value) for name, value in tensors.items()}, path)
    path.chmod(0o644)  # safetensors creates private files
    return {"format": "safetensors", "file": path.name, "bytes": path.stat().st_size, "sha256": hash_file(path)}
