"""A bundle with the published sizes and seeded weights: speed does not depend on what a network has learned."""

from __future__ import annotations

from pathlib import Path

import yaml

from joyvasa.bundles import open_bundle

NAME = "published-sizes"
# The same as for the bundle `random`: a head of ordinary size that looks ahead, whatever the weights.
_FACE = {
    "scales": {"detector.fc_scale.weight": 0.01, "detector.fc_exp.*": 0.05, "detector.fc_t.*": 0.05},
    "constants": {"detector.fc_scale.bias": 1.4},
}


def write_seeded_bundle(folder: Path) -> None:
    """Describes the networks of the bundle `joyvasa` for people, to be made when they are loaded.

    Args:
        folder: to be made; `--models FOLDER` takes it.
    """
    published = open_bundle("joyvasa").spec
    roles = {}
    for name in published.of_mode("human"):
        role = published.roles[name]
        if role.network or name == "motion_template":
            roles[name] = {"format": "generated", "licence": "none", "modes": ["human"], "optional": role.optional}
            roles[name] |= {"network": role.network, "config": role.config} if role.network else {}
    roles["motion_extractor"] |= _FACE
    content = {
        "format_version": 1,
        "name": NAME,
        "description": "Published sizes, seeded untrained weights; for measuring speed",
        "licences": {"none": {"name": "none needed", "commercial": "yes"}},
        "switches": {"synthetic": True, "detector": "cascade"},
        "roles": roles,
    }
    folder.mkdir(parents=True)
    (folder / "bundle.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
