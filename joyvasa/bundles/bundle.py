"""A bundle that was found: which roles it fills, from which files, and the loaded networks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joyvasa.bundles.checkpoints import checkpoint_format
from joyvasa.bundles.hashes import HashCache
from joyvasa.bundles.spec import BundleSpec, License, Role, Switches
from joyvasa.bundles.state import load_network_state
from joyvasa.bundles.weights import Weights, read_source_hash, read_weights
from joyvasa.errors import ConfigError, ModelError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from joyvasa.motion.sequence import MotionTemplate

TEMPLATE_ROLE = "motion_template"


@dataclass(frozen=True)
class Bundle:
    """Weights, switches and licenses under one name.

    Args:
        spec: content of `bundle.yaml`.
        folder: where the files are; they need not be there yet.
        cache: remembered hashes.
        notes: what was chosen where several files would fit, one sentence each.
        links_allowed: whether a file may be a link that leads out of the folder. Only for folders whose
            file names this program gives, never for names from a `bundle.yaml` that came with the files.
    """

    spec: BundleSpec
    folder: Path
    cache: HashCache
    notes: tuple[str, ...] = ()
    links_allowed: bool = False

    @property
    def name(self) -> str:
        """Name for messages and rows."""
        return self.spec.name

    @cached_property
    def switches(self) -> Switches:
        """What the weights were made for; includes the switches of the files in use."""
        merged = self.spec.switches.model_dump()
        for role in self.spec.roles.values():
            merged |= role.switches
        return Switches.model_validate(merged)

    @property
    def synthetic(self) -> bool:
        """Whether the weights are seeded numbers, so that every output must say so."""
        return self.switches.synthetic

    def has(self, role: str) -> bool:
        """Whether the role can be loaded: it is part of the bundle and its file is there."""
        entry = self.spec.roles.get(role)
        return entry is not None and (entry.file is None or self._used(role).is_file())

    def stated_bytes(self, roles: Iterable[str]) -> int | None:
        """Size of the files of these roles, as stated; None where it is not, or where weights are generated."""
        sizes = [entry.bytes if (entry := self.spec.roles.get(role)) else None for role in roles]
        return sum(sizes) if None not in sizes else None  # type: ignore[arg-type]

    def require(self, roles: Iterable[str]) -> None:
        """Checks that roles are there before any work starts.

        Raises:
            ModelError: `models_missing`, naming the files and the command that gets them, or the roles that the
                bundle does not have.
        """
        missing = [role for role in roles if not self.has(role)]
        if lacking := [role for role in missing if role not in self.spec.roles]:
            raise ModelError(
                "models_missing",
                f"bundle {self.name}: its bundle.yaml has no {', '.join(lacking)}; expected a bundle that has: use "
                "another one, as --models joyvasa, or another mode",
            )
        if missing:
            raise ModelError("models_missing", f"bundle {self.name}: {self.describe_missing(missing)}")

    def describe_missing(self, roles: Iterable[str]) -> str:
        """`not available: needs FILE (joyvasa models fetch NAME)` for roles that are not there."""
        roles = list(roles)
        entries = [self.spec.roles.get(role) for role in roles]
        files = dict.fromkeys(str(self.path(entry)) for entry in entries if entry and entry.file)
        unknown = [role for role in roles if role not in self.spec.roles]
        wanted = [*files, *(f"a file for the role {role}, which bundle.yaml does not have" for role in unknown)]
        if not all(entry and entry.source for entry in entries):
            return f"not available: needs {', '.join(wanted)}"
        mode = next((entry.modes[0] for entry in entries if entry and "human" not in entry.modes), None)
        option = f" --mode {mode}" if mode else ""
        return f"not available: needs {', '.join(wanted)} (joyvasa models fetch {self.name}{option})"

    def file(self, role: str) -> Path:
        """The file that a role is loaded from.

        Args:
            role: for example `face_detector`.

        Returns:
            An existing file; the converted one where `joyvasa models convert` made one beside the original.

        Raises:
            ModelError: the role has no file, or it is missing, leads out of the bundle, or is not the pinned one.
        """
        if self._entry(role).file is None:
            raise ModelError("models_missing", f"bundle {self.name}: {role} is generated and has no file")
        self.require([role])
        path = self._used(role)
        self.check_inside(path)
        entry = self._entry(role)
        if entry.sha256 and path == self.path(entry):
            found = self.cache.sha256(path)
            if found != entry.sha256:
                raise ModelError(
                    "weights_wrong_hash",
                    f"{path}: sha256 is {found[:16]}…, expected {entry.sha256[:16]}…: "
                    f"the file is damaged or another version; get it again (joyvasa models fetch {self.name})",
                )
        return path

    def load_network(self, role: str, device: torch.device | str = "cpu") -> nn.Module:
        """Builds the network of a role and loads its weights, strictly.

        Args:
            role: for example `warping_module`.
            device: where its weights shall be.

        Returns:
            The network in eval mode.

        Raises:
            ModelError: missing or damaged file, or weights that do not fit.
        """
        entry = self._entry(role)
        if entry.network is None:
            raise ModelError(
                "weights_mismatch", f"bundle {self.name}: {role} is a file ({entry.format}), not a network"
            )
        if entry.format == "generated":
            from joyvasa.bundles.synthetic import generate_network

            module = generate_network(lambda: self._build(role, entry.config), role, entry)
        else:
            weights = self.load_weights(role)
            module = self.build_for(role, weights)
            load_network_state(module, weights.state, weights.where, checkpoint_format(entry.network).dropped)
        return module.to(device).eval()

    def load_weights(self, role: str) -> Weights:
        """The tensors of a role as its file holds them, read safely."""
        path, entry = self.file(role), self._entry(role)
        converted = path != self.path(entry)
        return read_weights(path, "safetensors" if converted else entry.format, None if converted else entry.entry)

    def build_for(self, role: str, weights: Weights) -> nn.Module:
        """The network of a role with constructor weights; sizes from its checkpoint, and bundle.yaml for the rest."""
        entry = self._entry(role)
        config = checkpoint_format(entry.network).config
        return self._build(role, config(weights, entry.config) if config else entry.config)

    def load_template(self) -> MotionTemplate:
        """Statistics that turn the coefficients of the motion model into motion.

        Raises:
            ModelError: missing or damaged file, or arrays that are not a template.
        """
        from joyvasa.motion.sequence import MotionTemplate

        arrays = self.load_template_arrays()
        try:
            return MotionTemplate.from_arrays(arrays)
        except ModelError as error:
            raise ModelError(error.code, f"bundle {self.name}: {error.sentence}") from None

    def load_template_arrays(self) -> dict[str, Any]:
        """The arrays of the motion template by their published names."""
        entry = self._entry(TEMPLATE_ROLE)
        if entry.format == "generated":
            from joyvasa.bundles.synthetic import make_template_arrays

            return make_template_arrays(entry.config)
        from joyvasa.bundles.template_pickle import read_template_pickle

        path = self.file(TEMPLATE_ROLE)
        if path == self.path(entry) and entry.format == "template-pickle":
            return dict(read_template_pickle(path))
        return {name: tensor.numpy() for name, tensor in read_weights(path, "safetensors").state.items()}

    def licenses(self, roles: Iterable[str] | None = None) -> dict[str, License]:
        """Terms by role; of all roles that are there unless some are named."""
        return {role: self.spec.licenses[self._entry(role).license] for role in self._chosen(roles)}

    def hashes(self, roles: Iterable[str] | None = None) -> dict[str, str]:
        """SHA-256 of the published file behind each role; of the description where it is generated.

        Each file is hashed once and remembered by size and time of change.
        """
        result = {}
        for role in self._chosen(roles):
            entry = self._entry(role)
            if entry.file is None:
                result[role] = hashlib.sha256(json.dumps(entry.model_dump(), sort_keys=True).encode()).hexdigest()
            else:
                path = self.file(role)
                converted = path != self.path(entry)
                result[role] = entry.sha256 if converted and entry.sha256 else self.cache.sha256(path)
        return result

    def fingerprint(self, roles: Iterable[str] | None = None) -> str:
        """One hash over weights, switches and sizes: equal if and only if the bundle computes the same."""
        chosen = self._chosen(roles)
        configs = {role: self._entry(role).config for role in chosen}
        content = [self.hashes(chosen), self.switches.model_dump(), configs]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def path(self, entry: Role) -> Path:
        """Where a role's published file belongs; it need not be there."""
        return self.folder / str(entry.file)

    def converted_path(self, role: str) -> Path:
        """Where `joyvasa models convert` puts the safetensors form of a role, beside the original."""
        return self.path(self._entry(role)).with_name(f"{role}.safetensors")

    def _entry(self, role: str) -> Role:
        if role not in self.spec.roles:
            raise ModelError(
                "models_missing",
                f"bundle {self.name}: has no role {role!r} (found: {', '.join(self.spec.roles)}): use another bundle",
            )
        return self.spec.roles[role]

    def _chosen(self, roles: Iterable[str] | None) -> list[str]:
        return [role for role in self.spec.roles if self.has(role)] if roles is None else list(roles)

    def _used(self, role: str) -> Path:
        """The converted file if it was made from the pinned original, else the original."""
        entry = self._entry(role)
        converted = self.converted_path(role)
        if entry.format in ("pytorch", "template-pickle") and entry.sha256 and converted.is_file():
            if read_source_hash(converted) == entry.sha256:
                return converted
        return self.path(entry)

    def check_inside(self, path: Path) -> None:
        """Refuses a path that leads out of the folder through a link.

        Raises:
            ModelError: `bundle_invalid`.
        """
        if not self.links_allowed and not path.resolve().is_relative_to(self.folder.resolve()):
            raise ModelError(
                "bundle_invalid",
                f"{path}: a link that leads out of the bundle {self.folder}: put files and folders themselves there",
            )

    def _build(self, role: str, config: dict[str, Any]) -> nn.Module:
        from joyvasa.networks import build

        network = self._entry(role).network
        switches = {name: getattr(self.switches, name) for name in checkpoint_format(network).switches}
        try:
            return build(str(network), **{**switches, **config})
        except (ConfigError, TypeError, ValueError, RuntimeError) as error:
            reason = error.sentence if isinstance(error, ConfigError) else str(error)
            raise ModelError("bundle_invalid", f"bundle {self.name}: {role} cannot be built: {reason}") from None
