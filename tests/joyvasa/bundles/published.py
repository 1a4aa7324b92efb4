"""Write weight files in the published formats and layout, with small networks."""

from __future__ import annotations

import argparse
import hashlib
import pickle
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from joyvasa.bundles import open_bundle
from joyvasa.bundles.spec import BundleSpec
from joyvasa.bundles.synthetic import make_template_arrays
from joyvasa.networks import build

NETWORKS = ("appearance_feature_extractor", "motion_extractor", "warping_module", "spade_generator")
RENDERER = (*NETWORKS, *(f"animal_{name}" for name in NETWORKS))
RETARGETING = {"stitching": "retarget_shoulder", "lip": "retarget_mouth", "eye": "retarget_eye"}
LOADED = (*RENDERER, *RETARGETING, "motion_generator")


def small_spec(folder: Path | None = None, **config: dict[str, Any]) -> BundleSpec:
    """Return the spec of the published bundle for small networks.

    Args:
        folder: folder whose files are pinned; None pins nothing.
        config: sizes by role, to override the default sizes.
    """
    content = open_bundle("joyvasa").spec.model_dump(mode="json")
    sizes = open_bundle("random").spec.roles
    content["roles"] = {name: role for name, role in content["roles"].items() if name in sizes}

    for name, role in content["roles"].items():
        path = folder / role["file"] if folder else None
        data = path.read_bytes() if path and path.is_file() else None
        role |= {
            "config": config.get(name, sizes[name].config),
            "bytes": len(data) if data is not None else None,
            "sha256": hashlib.sha256(data).hexdigest() if data is not None else None,
            "older": [],
        }

    # The checkpoint of the generator states its sizes; keep only those that it does not state.
    stated = content["roles"]["motion_generator"]["config"]
    if "motion_generator" not in config:
        content["roles"]["motion_generator"]["config"] = {
            key: value for key, value in stated.items() if key in ("decoder_heads", "audio_encoder")
        }
    return BundleSpec.model_validate(content)


def write_bundle(folder: Path, spec: BundleSpec) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(spec.model_dump(mode="json", exclude_defaults=True) | {"format_version": 1}, sort_keys=False)
    (folder / "bundle.yaml").write_text(text)
    return folder


@cache
def small_network(name: str) -> nn.Module:
    """Build a small network with random weights in [0, 1), unlike those of any constructor."""
    role = open_bundle("random").spec.roles[name]
    network = build(str(role.network), **role.config)
    numbers = torch.Generator().manual_seed(7 + name.startswith("animal_"))
    state = {
        key: torch.rand(value.shape, generator=numbers) if value.is_floating_point() and not _fixed(key) else value
        for key, value in network.state_dict().items()
    }
    network.load_state_dict(state)
    return network


def _fixed(key: str) -> bool:
    return key.startswith("diffusion_sched.") or key.endswith(".pe")


def generator_checkpoint(**arguments: Any) -> dict[str, Any]:
    """Return {args, model, iter} with a namespace, a path object, old weight-norm names and a shorter step table."""
    state: dict[str, Tensor] = {}
    for key, value in small_network("motion_generator").state_dict().items():
        key = key.replace("parametrizations.weight.original0", "weight_g")
        state[key.replace("parametrizations.weight.original1", "weight_v")] = value
    state["denoising_net.TE.pe"] = torch.full((1, 9, 32), 0.5)

    stated = {
        "motion_feat_dim": 73,
        "n_motions": 100,
        "n_prev_motions": 10,
        "feature_dim": 32,
        "n_diff_steps": 8,
        "diff_schedule": "cosine",
        "target": "sample",
        "audio_model": "hubert_zh_ori",
        "n_layers": 6,  # as published: stored but not used
        "n_heads": 8,
        "use_indicator": True,
        "exp_dir": Path("experiments/motion_generator"),
    }
    return {"args": argparse.Namespace(**(stated | arguments)), "model": state, "iter": 20_000}


def write_published(folder: Path, *, legacy: bool = False) -> Path:
    """Write a `pretrained_weights` folder for people and animals, without the detectors."""
    names = {name: role.file for name, role in open_bundle("joyvasa").spec.roles.items()}

    def save(content: Any, file: str | None) -> None:
        path = folder / str(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)

    for name in RENDERER:
        save(small_network(name).state_dict(), names[name])
    save(
        {
            entry: {f"module.{key}": value for key, value in small_network(name).state_dict().items()}
            for name, entry in RETARGETING.items()
        },
        names["stitching"],
    )
    save(generator_checkpoint(), names["motion_generator"])
    template = folder / str(names["motion_template"])
    template.parent.mkdir(parents=True, exist_ok=True)
    template.write_bytes(pickle.dumps(published_template()))
    return folder


def published_template() -> dict[str, np.ndarray]:
    """Return arrays of single and double precision, as published."""
    arrays = make_template_arrays()
    return {name: array.astype(np.float64) if name.startswith("std_") else array for name, array in arrays.items()}
