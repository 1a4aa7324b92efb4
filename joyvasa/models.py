"""Every option of an animation, and the networks that they ask for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
from torch import nn

from joyvasa.audio import stream_audio, stream_normalised
from joyvasa.bundles import Bundle, open_bundle
from joyvasa.compose import FrameComposer
from joyvasa.device import Precision, choose_device
from joyvasa.driving import DrivingConfig, HumanDriver
from joyvasa.errors import ConfigError
from joyvasa.faces.detection import FaceDetector, build_detector
from joyvasa.faces.geometry import CropConfig
from joyvasa.motion import MotionSequence, MotionTemplate
from joyvasa.networks.motion_generator import MotionGenerator
from joyvasa.portrait import FaceConfig, Picture, PictureConfig, Portrait, PortraitEncoder
from joyvasa.provenance import description
from joyvasa.rendering import Renderer
from joyvasa.sampling import SamplingConfig, plan_speech
from joyvasa.smoothing import SmoothingConfig
from joyvasa.video import EncodingConfig
from joyvasa.windows import WindowPlan

PORTRAIT_ROLES = ("appearance_feature_extractor", "motion_extractor")
MOTION_ROLES = ("motion_generator", "motion_template")
DETECTOR_ROLES = {"cascade": (), "insightface": ("face_detector", "landmarks106", "landmarks203")}
RENDER_ROLES = ("warping_module", "spade_generator")


@dataclass(frozen=True)
class AudioConfig:
    """Which recordings are accepted."""

    allow_silence: bool = False  # animate a recording in which nothing is heard


@dataclass(frozen=True)
class AnimationConfig:
    """Every option of an animation.

    Raises:
        ConfigError: `config_invalid`, and what the parts raise.
    """

    models: str = "joyvasa"  # bundle: a name or a folder
    seed: int = 0  # of the motion
    device: str = "auto"
    precision: Precision = "fp32"
    batch_frames: int = 8  # rendered at once; memory grows with it
    paste_back: bool = True  # put the face back into the picture; off: the video shows the crop alone
    picture: PictureConfig = field(default_factory=PictureConfig)
    face: FaceConfig = field(default_factory=FaceConfig)
    crop: CropConfig = field(default_factory=CropConfig)
    audio: AudioConfig = field(default_factory=AudioConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)
    driving: DrivingConfig = field(default_factory=lambda: DrivingConfig(stitching=True))
    encoding: EncodingConfig = field(default_factory=EncodingConfig)

    def __post_init__(self) -> None:
        if self.batch_frames < 1:
            raise ConfigError("config_invalid", f"batch_frames is {self.batch_frames}; expected at least 1")
        if not 0 <= self.seed < 2**63:
            raise ConfigError("config_invalid", f"seed is {self.seed}; expected 0 to 2^63 - 1")

        if self.sampling.sampler == "ancestral" and self.sampling.steps is not None:
            found = f"sampling.steps is {self.sampling.steps} with the ancestral sampler, which takes all trained steps"
            raise ConfigError("config_invalid", f"{found}; expected sampling.sampler=ddim, or no steps")

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles of the bundle that these options need, without the detector's."""
        extra = [("stitching", self.driving.stitching), ("lip", self.driving.normalize_lip)]
        return (*PORTRAIT_ROLES, *MOTION_ROLES, *RENDER_ROLES, *(role for role, needed in extra if needed))


class Models:
    """The networks of one bundle, and what is built from them for one configuration; each loads when first needed.

    Args:
        config: every option.

    Raises:
        ModelError: the bundle is unknown, or files that the options need are missing.
        EnvironmentFault: `device_unavailable`.
    """

    def __init__(self, config: AnimationConfig) -> None:
        self.config = config
        self.device = choose_device(config.device)
        self.bundle: Bundle = open_bundle(config.models)
        self.bundle.require(config.roles)
        self._networks: dict[str, nn.Module] = {}

    def network(self, role: str) -> nn.Module:
        """The network of a role, on the device, in eval mode."""
        if role not in self._networks:
            self._networks[role] = self.bundle.network(role, self.device)
        return self._networks[role]

    @cached_property
    def detector(self) -> FaceDetector | None:
        """Finds faces; None if the whole picture counts as the face."""
        wanted = self.config.face.detector
        name = self.bundle.switches.detector if wanted == "bundle" else wanted
        if name == "none":
            return None
        files = {role: self.bundle.file(role) for role in DETECTOR_ROLES[name]}
        return build_detector(name, files=files, device=str(self.device), threshold=self.config.face.threshold)

    @cached_property
    def encoder(self) -> PortraitEncoder:
        """Pictures to portraits."""
        return PortraitEncoder(
            self.network("appearance_feature_extractor"),
            self.network("motion_extractor"),
            input_size=self.bundle.switches.input_size,
            device=self.device,
            precision=self.config.precision,
        )

    @cached_property
    def motion_generator(self) -> MotionGenerator:
        """Sound to motion."""
        return cast("MotionGenerator", self.network("motion_generator"))

    @cached_property
    def template(self) -> MotionTemplate:
        """Of the motion generator."""
        return self.bundle.template()

    @cached_property
    def renderer(self) -> Renderer:
        """Keypoints to pictures."""
        return Renderer(self.network("warping_module"), self.network("spade_generator"))

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all weights and switches that the options use."""
        return self.bundle.fingerprint(self.config.roles)

    def sound(self, path: str | Path) -> Iterator[np.ndarray]:
        """A recording as the motion generator takes it: blocks of shape (n,), float32, 16 kHz mono."""
        normalise = self.bundle.switches.audio_normalisation == "zero_mean_unit_variance"
        return stream_normalised(path) if normalise else stream_audio(path)

    def plan_speech(self, n_samples: int) -> WindowPlan:
        """The windows of a recording of `n_samples` at 16 kHz."""
        return plan_speech(
            n_samples,
            self.motion_generator.config,
            padding_samples=self.bundle.switches.audio_padding_samples,
            timing=self.config.sampling.timing,
        )

    def driver(self, portrait: Portrait, motion: MotionSequence) -> HumanDriver:
        """What drives this portrait with this motion.

        Raises:
            InputError: `keypoints_mismatch`.
        """
        driving = self.config.driving
        return HumanDriver(
            driving,
            source=portrait.keypoints,
            first_frame=motion[:1],
            stitching=self.network("stitching") if driving.stitching else None,
            lip=self.network("lip") if driving.normalize_lip else None,
            source_lip_ratio=portrait.picture.lip_ratio,
        )

    def composer(self, picture: Picture) -> FrameComposer:
        """What makes frames of the video out of rendered crops."""
        return FrameComposer(
            picture,
            paste_back=self.config.paste_back,
            output_size=self.bundle.switches.output_size,
            mark=f"{self.bundle.name} weights" if self.bundle.synthetic else None,
        )

    def tag(self, seed: int) -> str:
        """The comment that a video carries."""
        return description(
            bundle=self.bundle.name, fingerprint=self.fingerprint, seed=seed, synthetic=self.bundle.synthetic
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about the models, for the user."""
        if not self.bundle.synthetic:
            return self.bundle.notes
        return (f"models {self.bundle.name}: random weights, for tests only; the picture means nothing",)
