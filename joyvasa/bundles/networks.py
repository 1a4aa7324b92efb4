"""The networks of a bundle, loaded at first use."""

from __future__ import annotations

from functools import cached_property
from typing import Self

from torch import nn

from joyvasa.bundles.bundle import Bundle
from joyvasa.bundles.detectors import load_builtin_detector
from joyvasa.bundles.registry import open_bundle
from joyvasa.bundles.requirements import FRAME_ROLES, resolve_detector, resolve_role
from joyvasa.errors import EnvironmentFault
from joyvasa.faces.detection import FaceDetector
from joyvasa.faces.registry import DETECTORS, DetectorSource, build_detector
from joyvasa.networks.cpu import accelerate
from joyvasa.options import AnimationConfig
from joyvasa.runtime.device import choose_device, find_missing_compiler
from joyvasa.runtime.memory import choose_batch_frames, keep_freed_memory

COMPILED_ROLES = (*FRAME_ROLES, "motion_generator")


class LoadedNetworks:
    """The networks of one bundle in one mode, and its face detector, loaded at first use.

    Only the files of networks in use are needed; `require_models` checks all of them in advance.

    Raises:
        ModelError: the bundle is unknown.
        EnvironmentFault: `device_unavailable`, `compiler_missing`.
    """

    def __init__(self, config: AnimationConfig) -> None:
        self.config = config
        self.device = choose_device(config.device)
        if config.torch_compile and (lacking := find_missing_compiler(self.device)):
            raise EnvironmentFault(
                "compiler_missing",
                f"torch_compile is true: {lacking}: not found; expected what torch.compile needs for "
                f"{self.device.type}: install it, or set torch_compile=false",
            )
        if self.device.type == "cpu":
            keep_freed_memory()
        self.bundle: Bundle = open_bundle(config.models)
        self._networks: dict[str, nn.Module] = {}

    def with_config(self, config: AnimationConfig) -> Self:
        """Return the same for other options. Networks of the same bundle on the same device are shared.

        Raises:
            ModelError: the bundle is unknown.
            EnvironmentFault: `device_unavailable`, `compiler_missing`.
        """
        other = type(self)(config)
        if (config.models, config.torch_compile, other.device) == (
            self.config.models,
            self.config.torch_compile,
            self.device,
        ):
            other._networks = self._networks
            before = self.config
            is_same = (config.mode, config.face, config.licenses) == (before.mode, before.face, before.licenses)
            if is_same and "detector" in self.__dict__:
                other.detector = self.detector
        return other

    def network(self, role: str) -> nn.Module:
        """Return the network of a role for the configured mode, on the device, in eval mode."""
        mode_role = resolve_role(self.config.mode, role)
        if mode_role not in self._networks:
            network = self._networks[mode_role] = accelerate(self.bundle.load_network(mode_role, self.device))
            if self.config.torch_compile and role in COMPILED_ROLES:
                network.compile()  # networks with more entry points than `forward` override `compile`
        return self._networks[mode_role]

    def count_batch_frames(self, *roles: str) -> int:
        """Return the number of frames that the networks of these roles compute in one call."""
        parameters = [parameter for role in roles for parameter in self.network(role).parameters()]
        weight_bytes = sum(parameter.nbytes for parameter in parameters)
        return self.config.batch_frames or choose_batch_frames(self.device, weight_bytes)

    @cached_property
    def detector(self) -> FaceDetector | None:
        """Face detector; None if the whole picture is used as the face crop."""
        name = resolve_detector(self.config, self.bundle)
        if name == "none":
            return None
        if DETECTORS[name].bundle:
            return load_builtin_detector(name, self.config.mode, self.device)
        source = DetectorSource(
            device=self.device,
            threshold=self.config.face.threshold,
            file=self.bundle.find_file,
            network=self.network,
        )
        return build_detector(name, self.config.mode, source)
