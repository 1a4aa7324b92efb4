"""Open a `pretrained_weights` folder with the layout of JoyVASA's README, without a bundle.yaml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from joyvasa.bundles.bundle import Bundle
from joyvasa.bundles.hashes import HashCache
from joyvasa.bundles.spec import BundleSpec, PublishedFile, Role, Switches
from joyvasa.bundles.weights import read_checkpoint
from joyvasa.errors import ModelError

SWITCHES = "switches"  # entry of a checkpoint with the switches that it was trained for
GENERATOR_FOLDER = "JoyVASA/motion_generator"
_LAYOUT_FOLDERS = (
    GENERATOR_FOLDER,
    "JoyVASA/motion_template",
    "liveportrait/base_models",
    "liveportrait_animals/base_models",
    "liveportrait_animals/base_models_v1.1",
)


def is_pretrained_folder(folder: Path) -> bool:
    """Return whether a folder has the layout of `pretrained_weights`."""
    return any((folder / name).is_dir() for name in _LAYOUT_FOLDERS)


def open_pretrained_folder(folder: Path, published: BundleSpec, cache: HashCache) -> Bundle:
    """Open a `pretrained_weights` folder as a bundle with the layout of the published one.

    Files with a published hash keep it. A motion generator with another name or content, trained by the user, is used
    without a pinned hash.

    Returns:
        The bundle, with a note for every choice between files.
    """
    notes: list[str] = []
    roles: dict[str, Role] = {}
    for name, role in (published.roles | _select_animal_roles(folder, published, notes)).items():
        selected = _select_file(folder, name, role, cache, notes)
        roles[name] = role.model_copy(
            update={**{field: getattr(selected, field) for field in PublishedFile.model_fields}, "older": []}
        )
    name = re.sub(r"[^\w.-]", "_", folder.resolve().name).lstrip("._-") or "pretrained_weights"
    spec = published.model_copy(update={"roles": roles, "name": name})
    return Bundle(spec, folder, cache, tuple(notes), links_allowed=True)


def _select_animal_roles(folder: Path, published: BundleSpec, notes: list[str]) -> dict[str, Role]:
    """Select one version of the animal renderer, whose networks only fit networks of the same version.

    Selects the newest complete version, else the newest version, whose files are then reported missing.
    """
    families = {name: role for name, role in published.roles.items() if role.modes == ["animal"] and role.older}
    versions = list(dict.fromkeys(file.version for role in families.values() for file in role.versions))

    def existing_files(version: str) -> dict[str, PublishedFile]:
        candidates = ((name, file) for name, role in families.items() for file in role.versions)
        return {
            name: file for name, file in candidates if file.version == version and (folder / str(file.file)).is_file()
        }

    complete = [version for version in versions if len(existing_files(version)) == len(families)]
    if not complete:
        return {name: role.model_copy(update={"older": []}) for name, role in families.items()}
    if len(complete) > 1 or complete[0] != versions[0]:
        notes.append(f"animals: using version {complete[0]} of {', '.join(complete)}")
    return {name: _with_file(families[name], file) for name, file in existing_files(complete[0]).items()}


def _with_file(role: Role, selected: PublishedFile) -> Role:
    """Return the role with the selected file. The file at this path may have the content of any version."""
    others = [file for file in role.versions if file.version != selected.version]
    update = {field: getattr(selected, field) for field in PublishedFile.model_fields}
    update["older"] = [file.model_copy(update={"file": selected.file}) for file in others]
    return role.model_copy(update=update)


def _candidates(folder: Path, name: str, role: Role) -> list[str]:
    """Return the existing files that may fill a role, the preferred one first."""
    files = [str(version.file) for version in role.versions if version.file]
    if name == "motion_generator":
        # JoyVASA's README names iter_0020000.pt, the hub and the code motion_generator_hubert_chinese.pt; training
        # writes iter_NUMBER.pt.
        trained = sorted(folder.glob(f"{GENERATOR_FOLDER}/iter_*.pt"), key=lambda path: (len(path.name), path.name))
        files += [path.relative_to(folder).as_posix() for path in reversed(trained)]
    return [file for file in dict.fromkeys(files) if (folder / file).is_file()]


def _select_file(folder: Path, name: str, role: Role, cache: HashCache, notes: list[str]) -> PublishedFile:
    candidates = _candidates(folder, name, role)
    if not candidates:
        return role

    for version in role.versions:
        for file in candidates:
            if _matches(version, folder / file, cache):
                if len(candidates) > 1 or version is not role:
                    notes.append(f"{name}: using {file} ({version.version or 'published'}) of {', '.join(candidates)}")
                return version.model_copy(update={"file": file})

    file = candidates[0]
    note = f"{name}: using {file}, which is not a published file, of {', '.join(candidates)}"
    switches = role.switches
    if switches:  # the name says nothing about the conventions: training writes the names of published files, too
        stated = _read_stated_switches(folder / file)
        switches = switches | stated
        note += f"; {'it states' if stated else 'assuming'} "
        note += ", ".join(f"{switch}={value}" for switch, value in switches.items())
        if not stated:
            note += f": if it was trained otherwise, run `joyvasa models convert {folder} --out NEW`, change the "
            note += "switches in NEW/bundle.yaml and use NEW"
    notes.append(note)
    return PublishedFile(version="unpublished", file=file, switches=switches)


def _read_stated_switches(path: Path) -> dict[str, Any]:
    """Return the switches that a checkpoint of `joyvasa bundle --published` states; empty if it states none."""
    try:
        content = read_checkpoint(path, mmap=True)
    except ModelError:  # loading its weights raises it, too
        return {}
    stated = content.get(SWITCHES) if isinstance(content, dict) else None
    try:
        return Switches.model_validate(stated).model_dump(exclude_unset=True)
    except ValidationError:
        return {}


def _matches(version: PublishedFile, path: Path, cache: HashCache) -> bool:
    """Return whether a file is the published one; it is hashed only if its size matches."""
    if version.sha256 is None or (version.bytes is not None and version.bytes != path.stat().st_size):
        return False
    return cache.sha256(path) == version.sha256
