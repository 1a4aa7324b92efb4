"""A `pretrained_weights` folder laid out as JoyVASA's README shows, without a bundle.yaml."""

from __future__ import annotations

import re
from pathlib import Path

from joyvasa.bundles.bundle import Bundle
from joyvasa.bundles.hashes import HashCache
from joyvasa.bundles.spec import BundleSpec, PublishedFile, Role

GENERATOR_FOLDER = "JoyVASA/motion_generator"
_MARKS = (
    GENERATOR_FOLDER,
    "JoyVASA/motion_template",
    "liveportrait/base_models",
    "liveportrait_animals/base_models",
    "liveportrait_animals/base_models_v1.1",
)


def is_pretrained_folder(folder: Path) -> bool:
    """Whether a folder looks like `pretrained_weights`."""
    return any((folder / mark).is_dir() for mark in _MARKS)


def open_pretrained_folder(folder: Path, published: BundleSpec, cache: HashCache) -> Bundle:
    """The bundle that such a folder makes.

    Files that are published by their hash keep it; a motion generator under another name, or with other
    content (a user's own training), is taken as it is.

    Args:
        folder: the `pretrained_weights` folder.
        published: the bundle whose files have this layout.
        cache: remembered hashes.

    Returns:
        The bundle, with a note for every choice.
    """
    notes: list[str] = []
    roles: dict[str, Role] = {}
    for name, role in (published.roles | _animals(folder, published, notes)).items():
        chosen = _chosen(folder, name, role, cache, notes)
        roles[name] = role.model_copy(
            update={**{field: getattr(chosen, field) for field in PublishedFile.model_fields}, "older": []}
        )
    spec = published.model_copy(update={"roles": roles, "name": _bundle_name(folder)})
    return Bundle(spec, folder, cache, tuple(notes), links_allowed=True)


def _animals(folder: Path, published: BundleSpec, notes: list[str]) -> dict[str, Role]:
    """The animals' renderer in one version: networks of different versions do not fit each other.

    The newest version of which every file is there; the newest at all if there is none, so that its files are missed.
    """
    families = {name: role for name, role in published.roles.items() if role.modes == ["animal"] and role.older}
    versions = list(dict.fromkeys(file.version for role in families.values() for file in role.versions))

    def files(version: str) -> dict[str, PublishedFile]:
        found = ((name, file) for name, role in families.items() for file in role.versions if file.version == version)
        return {name: file for name, file in found if (folder / str(file.file)).is_file()}

    whole = [version for version in versions if len(files(version)) == len(families)]
    if not whole:
        return {name: role.model_copy(update={"older": []}) for name, role in families.items()}
    if len(whole) > 1 or whole[0] != versions[0]:
        notes.append(f"animals: took version {whole[0]} of {', '.join(whole)}")
    return {name: _at(families[name], file) for name, file in files(whole[0]).items()}


def _at(role: Role, taken: PublishedFile) -> Role:
    """The role with one of its files; what lies there may have the content of any version."""
    others = [file.model_copy(update={"file": taken.file}) for file in role.versions if file.version != taken.version]
    return role.model_copy(
        update={**{field: getattr(taken, field) for field in PublishedFile.model_fields}, "older": others}
    )


def _bundle_name(folder: Path) -> str:
    return re.sub(r"[^\w.-]", "_", folder.resolve().name).lstrip("._-") or "pretrained_weights"


def _candidates(folder: Path, name: str, role: Role) -> list[str]:
    """Files that may fill a role, the preferred one first."""
    files = [str(version.file) for version in role.versions if version.file]
    if name == "motion_generator":
        # The README names iter_0020000.pt, the hub and the code motion_generator_hubert_chinese.pt;
        # training writes iter_NUMBER.pt.
        trained = sorted(folder.glob(f"{GENERATOR_FOLDER}/iter_*.pt"), key=lambda path: (len(path.name), path.name))
        files += [path.relative_to(folder).as_posix() for path in reversed(trained)]
    return [file for file in dict.fromkeys(files) if (folder / file).is_file()]


def _chosen(folder: Path, name: str, role: Role, cache: HashCache, notes: list[str]) -> PublishedFile:
    candidates = _candidates(folder, name, role)
    if not candidates:
        return role
    for version in role.versions:
        for file in candidates:
            if _is(version, folder / file, cache):
                if len(candidates) > 1 or version is not role:
                    notes.append(f"{name}: took {file} ({version.version or 'published'}) of {', '.join(candidates)}")
                return version.model_copy(update={"file": file})
    file = candidates[0]
    same_place = next((version for version in role.versions if version.file == file), role)
    notes.append(f"{name}: took {file}, which is none of the published files, of {', '.join(candidates)}")
    return PublishedFile(version="unpublished", file=file, switches=same_place.switches)


def _is(version: PublishedFile, path: Path, cache: HashCache) -> bool:
    """Whether a file is this published one; hashed only if its size allows it."""
    if version.sha256 is None or (version.bytes is not None and version.bytes != path.stat().st_size):
        return False
    return cache.sha256(path) == version.sha256
