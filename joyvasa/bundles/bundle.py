"""A model bundle: its roles, their files, and loading of networks from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joyvasa.bundles.checkpoints import get_checkpoint_format
from joyvasa.bundles.hashes import HashCache
from joyvasa.bundles.spec import BundleSpec, License, Role, Switches
from joyvasa.bundles.state import fit_state_dict
from joyvasa.bundles.weights import Weights, read_source_hash, read_weights
from joyvasa.errors import ConfigError, ModelError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from joyvasa.motion.layouts import KeypointLayout
    from joyvasa.motion.sequence import MotionTemplate

TEMPLATE_ROLE = "motion_template"


@dataclass(frozen=True)
class Bundle:
    """Weights, switches and licenses under one name."""

    spec: BundleSpec  # content of `bundle.yaml`
    folder: Path  # folder of the files; they do not have to exist yet
    cache: HashCache  # cache of file hashes
    notes: tuple[str, ...] = ()  # choices between several suitable files, one sentence per choice
    # whether a file may be a symbolic link to a file outside the folder. Only for folders whose file names are defined
    # by this program, never for names from a `bundle.yaml` that came with the files.
    links_allowed: bool = False

    @property
    def name(self) -> str:
        """Name of the bundle, for messages and outcome rows."""
        return self.spec.name

    @cached_property
    def switches(self) -> Switches:
        """Settings that the weights were trained for, including those of the files in use."""
        merged = self.spec.switches.model_dump()
        for role in self.spec.roles.values():
            merged |= role.switches
        return Switches.model_validate(merged)

    @property
    def synthetic(self) -> bool:
        """Whether the weights are random; every output is then marked."""
        return self.switches.synthetic

    def has_role(self, role: str) -> bool:
        """Return whether a role can be loaded: it is part of the bundle and its file exists."""
        entry = self.spec.roles.get(role)
        return entry is not None and (entry.file is None or self._resolve_file(role).is_file())

    def sum_stated_bytes(self, roles: Iterable[str]) -> int | None:
        """Return the total stated size of the files of roles; None if a size is unknown or weights are generated."""
        sizes = [entry.bytes if (entry := self.spec.roles.get(role)) else None for role in roles]
        return sum(sizes) if None not in sizes else None  # type: ignore[arg-type]

    def require_roles(self, roles: Iterable[str]) -> None:
        """Check that roles are available.

        Raises:
            ModelError: `models_missing`, with the missing files and the command that fetches them, or the roles that
                the bundle does not define.
        """
        missing = [role for role in roles if not self.has_role(role)]
        if undefined := [role for role in missing if role not in self.spec.roles]:
            raise ModelError(
                "models_missing",
                f"bundle {self.name}: its bundle.yaml has no {', '.join(undefined)}; expected a bundle that has: use "
                "another one, such as --models joyvasa, or another mode",
            )
        if missing:
            raise ModelError("models_missing", f"bundle {self.name}: {self.describe_missing(missing)}")

    def describe_missing(self, roles: Iterable[str]) -> str:
        """Return the sentence about missing roles: `not available: needs FILE (joyvasa models fetch NAME)`."""
        roles = list(roles)
        entries = [self.spec.roles.get(role) for role in roles]
        files = dict.fromkeys(str(self.published_path(entry)) for entry in entries if entry and entry.file)
        unknown = [role for role in roles if role not in self.spec.roles]
        wanted = [*files, *(f"a file for the role {role}, which bundle.yaml does not have" for role in unknown)]
        if not all(entry and entry.source for entry in entries):
            return f"not available: needs {', '.join(wanted)}"
        mode = next((entry.modes[0] for entry in entries if entry and "human" not in entry.modes), None)
        option = f" --mode {mode}" if mode else ""
        return f"not available: needs {', '.join(wanted)} (joyvasa models fetch {self.name}{option})"

    def find_file(self, role: str) -> Path:
        """Return the path of the file that a role is loaded from.

        Returns:
            Path of an existing file; the converted file if `joyvasa models convert` wrote one next to the original.

        Raises:
            ModelError: the role has no file, or the file is missing, links out of the bundle, or has the wrong hash.
        """
        if self._entry(role).file is None:
            raise ModelError("models_missing", f"bundle {self.name}: {role} is generated and has no file")
        self.require_roles([role])
        path = self._resolve_file(role)
        self.check_path_inside(path)

        entry = self._entry(role)
        if entry.sha256 and path == self.published_path(entry):
            actual = self.cache.sha256(path)
            if actual != entry.sha256:
                raise ModelError(
                    "weights_wrong_hash",
                    f"{path}: sha256 is {actual[:16]}…, expected {entry.sha256[:16]}…: "
                    f"the file is damaged or another version; fetch it again (joyvasa models fetch {self.name})",
                )
        return path

    def load_network(self, role: str, device: torch.device | str = "cpu") -> nn.Module:
        """Build the network of a role and load its weights strictly.

        Returns:
            The network in eval mode.

        Raises:
            ModelError: the file is missing or damaged, or its weights do not fit the network.
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
            module = self.build_network(role, weights)
            dropped = get_checkpoint_format(entry.network).dropped
            state = fit_state_dict(weights.state, module, weights.where, dropped)
            module.load_state_dict({**module.state_dict(), **state}, strict=True)
        return module.to(device).eval()

    def load_weights(self, role: str) -> Weights:
        """Read the tensors of a role from its file, without executing code from it."""
        path, entry = self.find_file(role), self._entry(role)
        converted = path != self.published_path(entry)
        return read_weights(path, "safetensors" if converted else entry.format, None if converted else entry.entry)

    def build_network(self, role: str, weights: Weights) -> nn.Module:
        """Build the network of a role, not yet loaded. Sizes come from its checkpoint, then from bundle.yaml."""
        entry = self._entry(role)
        config = get_checkpoint_format(entry.network).config
        return self._build(role, config(weights, entry.config) if config else entry.config)

    def load_template(self) -> MotionTemplate:
        """Load the statistics that denormalize the output of the motion model.

        Raises:
            ModelError: the file is missing or damaged, or its arrays are not a template.
        """
        from joyvasa.motion.sequence import MotionTemplate

        arrays = self.load_template_arrays()
        try:
            return MotionTemplate.from_arrays(arrays)
        except ModelError as error:
            raise ModelError(error.code, f"bundle {self.name}: {error.sentence}") from None

    @cached_property
    def layout(self) -> KeypointLayout | None:
        """Layout of the keypoints, as the motion template shows their number; None if it is unknown."""
        from joyvasa.motion.layouts import KEYPOINTS, load_layout

        if len(self.load_template().expression_mean) != 3 * KEYPOINTS:
            return None
        return load_layout("compact" if self.switches.absolute_expression else "liveportrait")

    def load_template_arrays(self) -> dict[str, Any]:
        """Load the arrays of the motion template by their published names."""
        entry = self._entry(TEMPLATE_ROLE)
        if entry.format == "generated":
            from joyvasa.bundles.synthetic import make_template_arrays

            return make_template_arrays()
        from joyvasa.bundles.weights import read_template_pickle

        path = self.find_file(TEMPLATE_ROLE)
        if path == self.published_path(entry) and entry.format == "template-pickle":
            return dict(read_template_pickle(path))
        return {name: tensor.numpy() for name, tensor in read_weights(path, "safetensors").state.items()}

    def get_licenses(self, roles: Iterable[str] | None = None) -> dict[str, License]:
        """Return the license of each role; of all available roles by default."""
        return {role: self.spec.licenses[self._entry(role).license] for role in self._select_roles(roles)}

    def hash_roles(self, roles: Iterable[str] | None = None) -> dict[str, str]:
        """Return the SHA-256 of the published file of each role; of its bundle.yaml entry if weights are generated.

        Hashes are cached by file size and modification time.
        """
        result = {}
        for role in self._select_roles(roles):
            entry = self._entry(role)
            if entry.file is None:
                result[role] = hashlib.sha256(json.dumps(entry.model_dump(), sort_keys=True).encode()).hexdigest()
            else:
                path = self.find_file(role)
                converted = path != self.published_path(entry)
                result[role] = entry.sha256 if converted and entry.sha256 else self.cache.sha256(path)
        return result

    def compute_fingerprint(self, roles: Iterable[str] | None = None) -> str:
        """Return a hash of weights, switches and sizes, equal only for bundles that compute the same."""
        selected = self._select_roles(roles)
        configs = {role: self._entry(role).config for role in selected}
        content = [self.hash_roles(selected), self.switches.model_dump(), configs]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def published_path(self, entry: Role) -> Path:
        """Return the path of the published file of a role; it does not have to exist."""
        return self.folder / str(entry.file)

    def converted_path(self, role: str) -> Path:
        """Return the path of the safetensors file that `joyvasa models convert` writes next to the original."""
        return self.published_path(self._entry(role)).with_name(f"{role}.safetensors")

    def _entry(self, role: str) -> Role:
        if role not in self.spec.roles:
            raise ModelError(
                "models_missing",
                f"bundle {self.name}: has no role {role!r} (found: {', '.join(self.spec.roles)}): use another bundle",
            )
        return self.spec.roles[role]

    def _select_roles(self, roles: Iterable[str] | None) -> list[str]:
        return [role for role in self.spec.roles if self.has_role(role)] if roles is None else list(roles)

    def _resolve_file(self, role: str) -> Path:
        """Return the converted file if it was made from the pinned original, else the original."""
        entry = self._entry(role)
        converted = self.converted_path(role)
        if entry.format in ("pytorch", "template-pickle") and entry.sha256 and converted.is_file():
            if read_source_hash(converted) == entry.sha256:
                return converted
        return self.published_path(entry)

    def check_path_inside(self, path: Path) -> None:
        """Reject a path that leads out of the folder through a symbolic link.

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
        switches = {name: getattr(self.switches, name) for name in get_checkpoint_format(network).switches}
        try:
            return build(str(network), **{**switches, **config})
        except (ConfigError, TypeError, ValueError, RuntimeError) as error:
            reason = error.sentence if isinstance(error, ConfigError) else str(error)
            raise ModelError("bundle_invalid", f"bundle {self.name}: {role} cannot be built: {reason}") from None
