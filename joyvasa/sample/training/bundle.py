"""What was trained becomes the bundle `sample`."""

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
from joyvasa.runtime.files import sha256_of
from joyvasa.sample.training.corpus import FaceBasis
from joyvasa.sample.training.learning import averaged_weights
from joyvasa.training.export import GENERATOR_ROLE, Trained

# Roles, their networks, and where their weights stand in the checkpoints of `learn`.
ROLES = {
    "appearance_feature_extractor": ("compact_appearance", "renderer", "appearance."),
    "motion_extractor": ("compact_motion_extractor", "keypoints", ""),
    "warping_module": ("compact_warping", "renderer", "warping."),
    "spade_generator": ("compact_generator", "painter", ""),
}
# Warped pixels fit the shoulders, and closed lips have no expression: there is nothing to correct.
CORRECT_NOTHING = {"format": "generated", "config": {"hidden": [1]}, "constants": {"*": 0.0}}
LICENCE = "project"
HEAD, FINDER = "head.", "finder."  # parts of the motion extractor; only the second one is trained


def write_sample_bundle(work: Path, trained: Trained, mean: np.ndarray, out: Path, *, licence: str) -> Bundle:
    """Writes the bundle folder; a bundle that is there is replaced.

    Matrices are kept in half precision, which halves the files and moves no keypoint by a hundredth of a pixel.

    Args:
        work: folder of the checkpoints of `learn`.
        trained: the motion generator.
        mean: of `mean_head`.
        out: the folder.
        licence: name of the terms of the weights.

    Raises:
        ModelError: `checkpoint_missing`, or what opening the bundle raises.
        OutputError: `output_exists` if the folder holds something else.
    """
    if out.exists() and not (out / SPEC_NAME).is_file():
        raise OutputError("output_exists", f"{out}: is there and no bundle: choose another folder")
    building = out.with_name(f".{out.name}.part")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    basis = FaceBasis(mean)
    roles: dict[str, Any] = {}
    for role, (network, task, prefix) in ROLES.items():
        state = averaged_weights(work, task, prefix)
        if role == "motion_extractor":
            state = {FINDER + name: value for name, value in state.items()}
            state[HEAD + "mean"] = torch.from_numpy(basis.neutral).float()
            state[HEAD + "opening"] = torch.from_numpy(basis.parts["jaw"]).float()
        roles[role] = {"network": network} | _save(building, role, state)
    sizes, usual = asdict(trained.sizes), asdict(MotionGeneratorConfig())
    stated = {name: value for name, value in sizes.items() if value != usual[name] and name != "positional_encoding"}
    roles[GENERATOR_ROLE] = {"network": "motion_generator", "config": stated} | _save(
        building, GENERATOR_ROLE, trained.state
    )
    roles[TEMPLATE_ROLE] = _save(building, TEMPLATE_ROLE, trained.template)
    roles |= {role: {"network": role} | CORRECT_NOTHING for role in ("stitching", "lip")}
    for role in roles.values():
        role |= {"licence": LICENCE, "modes": ["human", "animal"]}
    content = {
        "format_version": 1,
        "name": "sample",
        "description": "Small networks trained by this project, for trials without a download",
        "licences": {LICENCE: {"name": licence, "commercial": "yes", "note": "See README.md beside the weights"}},
        "switches": {
            "absolute_expression": True,
            "input_size": 256,
            "output_size": 256,
            "frames_per_second": trained.sizes.fps,
        },
        "roles": roles,
    }
    spec = BundleSpec.model_validate(json.loads(json.dumps(content)))  # YAML of this format knows lists and no tuples
    text = yaml.safe_dump(spec.model_dump(mode="json", exclude_defaults=True), sort_keys=False, width=120)
    (building / SPEC_NAME).write_text(text, encoding="utf-8")
    if out.exists():
        for kept in out.glob("*.md"):
            shutil.copyfile(kept, building / kept.name)
        shutil.rmtree(out)
    building.replace(out)
    return open_bundle(str(out))


def _save(folder: Path, role: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    from safetensors.torch import save_file

    def packed(tensor: Tensor) -> Tensor:
        # Vectors stay as they are: among them are variances, which half precision would round to nothing.
        small = tensor.half() if tensor.ndim > 1 and tensor.dtype == torch.float32 else tensor
        return small.clone().contiguous()

    path = folder / f"{role}.safetensors"
    exact = role == TEMPLATE_ROLE
    save_file({name: value.clone() if exact else packed(value) for name, value in tensors.items()}, path)
    path.chmod(0o644)  # safetensors makes private files
    return {"format": "safetensors", "file": path.name, "bytes": path.stat().st_size, "sha256": sha256_of(path)}
