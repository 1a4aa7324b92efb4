"""A bundle with the published sizes and seeded random weights, which compute as fast as trained ones."""

from __future__ import annotations

from pathlib import Path

import yaml

from joyvasa.bundles import open_bundle

NAME = "published-sizes"
# As in the bundle `random`: gives a head of ordinary size that looks ahead, for any weights.
_FACE = {
    "scales": {"detector.fc_scale.weight": 0.01, "detector.fc_exp.*": 0.05, "detector.fc_t.*": 0.05},
    "constants": {"detector.fc_scale.bias": 1.4},
}


def write_seeded_bundle(folder: Path) -> None:
    """Write a bundle with the networks of the bundle `joyvasa` for people, initialized randomly on loading.

    Args:
        folder: new folder of the bundle, to be passed as `--models FOLDER`.
    """
    published = open_bundle("joyvasa").spec
    roles = {}
    for name in published.roles_for_mode("human"):
        role = published.roles[name]
        if role.network or name == "motion_template":
            roles[name] = {"format": "generated", "license": "none", "modes": ["human"], "optional": role.optional}
            roles[name] |= {"network": role.network, "config": role.config} if role.network else {}
    roles["motion_extractor"] |= _FACE

    content = {
        "format_version": 1,
        "name": NAME,
        "description": "Published sizes, seeded untrained weights; for measuring speed",
        "licenses": {"none": {"name": "none needed", "commercial": "yes"}},
        "switches": {"synthetic": True, "detector": "blazeface"},
        "roles": roles,
    }
    folder.mkdir(parents=True)
    (folder / "bundle.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
