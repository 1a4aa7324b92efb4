"""Options of an animation, and the networks and components built from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from torch import nn

from joyvasa.bundles import Bundle, open_bundle
from joyvasa.bundles.spec import License
from joyvasa.config import check_ranges, ranged
from joyvasa.errors import ConfigError, EnvironmentFault, ModelError
from joyvasa.faces.blazeface import BlazeFaceDetector
from joyvasa.faces.detection import Face, FaceDetector, detect_faces
from joyvasa.faces.geometry import CropConfig, FramingControls
from joyvasa.faces.mode_check import ModeCheck
from joyvasa.faces.registry import (
    DETECTORS,
    DetectorSource,
    Opening,
    build_detector,
    list_detector_roles,
    list_detectors,
    measures,
)
from joyvasa.faces.video import FaceFollower, Progress, VideoFrames
from joyvasa.media.audio import SAMPLE_RATE, stream_audio, stream_normalized
from joyvasa.media.ffmpeg import ffmpeg_warnings
from joyvasa.media.provenance import video_comment
from joyvasa.media.video_reader import probe_video
from joyvasa.media.video_writer import EncodingConfig
from joyvasa.mode import MODES, Mode
from joyvasa.motion.controller import MotionController, any_facial, find_unsupported
from joyvasa.motion.controls import (
    SMILES,
    BlinkControls,
    ExpressionControls,
    EyeControls,
    GazeControls,
    MouthControls,
    PoseControls,
)
from joyvasa.motion.driving import DrivingConfig, PortraitDriver
from joyvasa.motion.extraction import CropMotionReader
from joyvasa.motion.keypoints import KeypointInfo
from joyvasa.motion.model import MotionModel
from joyvasa.motion.sampling import SamplingConfig
from joyvasa.motion.sequence import MotionSequence, MotionTemplate
from joyvasa.motion.smoothing import SmoothingConfig
from joyvasa.motion.video import DrivingMotion, DrivingVideoConfig, DrivingVideoReader, read_driving_motion
from joyvasa.motion.windows import WindowPlan, plan_windows
from joyvasa.networks.cpu import accelerate
from joyvasa.rendering.compose import FrameComposer
from joyvasa.rendering.portrait import (
    FaceConfig,
    Picture,
    PictureConfig,
    Portrait,
    PortraitEncoder,
    crop_portrait,
    read_portrait_image,
)
from joyvasa.rendering.renderer import Renderer
from joyvasa.rendering.source_video import SourceVideo, SourceVideoConfig, SourceVideoRenderer
from joyvasa.runtime.device import Precision, choose_device, find_missing_compiler
from joyvasa.runtime.memory import choose_batch_frames, keep_freed_memory

MOTION_ROLES = ("motion_generator", "motion_template")
FRAME_ROLES = ("warping_module", "spade_generator")  # run once per frame
COMPILED_ROLES = (*FRAME_ROLES, "motion_generator")
# Networks that exist once per mode; all others serve both modes.
RENDERER_ROLES = ("appearance_feature_extractor", "motion_extractor", *FRAME_ROLES)


@dataclass(frozen=True)
class AudioConfig:
    """Options for reading recordings."""

    allow_silence: bool = False  # animate recordings that are silent instead of refusing them


@dataclass(frozen=True)
class AnimationConfig:
    """Options of an animation.

    Raises:
        ConfigError: `config_invalid`, or an error of a nested configuration.
    """

    models: str = "sample"  # model bundle: a name or a folder; `sample` ships with the program
    mode: Mode = "human"  # what the picture shows; a run reads it from the column `mode` instead
    # `commercial` refuses weights whose license does not clearly permit commercial use
    licenses: Literal["any", "commercial"] = "any"
    seed: int = 0  # seed of the motion sampler; the same seed gives the same video
    device: str = "auto"  # `auto` (the best available), `cpu`, `cuda`, `cuda:1`, `mps`
    # precision of the networks: `fp16` and `bf16` are faster on a GPU, `bf16` also on CPUs that support it
    precision: Precision = "fp32"
    # run the networks of each denoising step and frame through `torch.compile`, on a GPU with one CUDA graph per
    # denoising step; compiling takes minutes, so this is for long runs on a GPU
    torch_compile: bool = False
    # frames rendered at once, for which memory grows; null: 1 if a CPU renders with large networks, otherwise 8
    batch_frames: int | None = None
    paste_back: bool = True  # paste the face back into the picture; if false, the video shows the crop alone
    picture: PictureConfig = field(default_factory=PictureConfig)
    face: FaceConfig = field(default_factory=FaceConfig)
    crop: CropConfig = field(default_factory=CropConfig)
    framing: FramingControls = field(default_factory=FramingControls)
    audio: AudioConfig = field(default_factory=AudioConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)
    driving: DrivingConfig = field(default_factory=lambda: DrivingConfig(stitching=True))
    pose: PoseControls = field(default_factory=PoseControls)
    expression: ExpressionControls = field(default_factory=ExpressionControls)
    mouth: MouthControls = field(default_factory=MouthControls)
    eyes: EyeControls = field(default_factory=EyeControls)
    blink: BlinkControls = field(default_factory=BlinkControls)
    gaze: GazeControls = field(default_factory=GazeControls)
    # smile in addition to the motion; negative lowers the corners of the mouth
    smile: float = ranged(0.0, *SMILES, "of a broad smile")
    brow: float = ranged(0.0, -1.0, 1.0, "of the largest")  # height of the eyebrows in addition to the motion
    # closure of one eye: positive of the person's right eye, negative of the left one
    wink: float = ranged(0.0, -1.0, 1.0, "of a closed eye")
    driving_video: DrivingVideoConfig = field(default_factory=DrivingVideoConfig)
    source_video: SourceVideoConfig = field(default_factory=SourceVideoConfig)
    encoding: EncodingConfig = field(default_factory=EncodingConfig)

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.batch_frames is not None and self.batch_frames < 1:
            raise ConfigError("config_invalid", f"batch_frames is {self.batch_frames}; expected at least 1")
        if not 0 <= self.seed < 2**63:
            raise ConfigError("config_invalid", f"seed is {self.seed}; expected 0 to 2^63 - 1")
        if self.mode not in MODES:
            raise ConfigError("config_invalid", f"mode is {self.mode!r}; expected {' or '.join(MODES)}")

        if self.face.detector not in (choices := ("bundle", *list_detectors(self.mode), "none")):
            actual = f"face.detector is {self.face.detector} in mode {self.mode}"
            reason = f": {self.face.detector} is for the other mode" if self.face.detector in DETECTORS else ""
            raise ConfigError("config_invalid", f"{actual}; expected one of {', '.join(choices)}{reason}")

        if self.mode == "animal" and self.driving.normalize_lip:
            raise ConfigError(
                "config_invalid",
                "driving.normalize_lip is true in mode animal; expected false: it needs the opening of the lips, "
                "which is measured in people only",
            )
        if self.sampling.sampler == "ancestral" and self.sampling.steps is not None:
            raise ConfigError(
                "config_invalid",
                f"sampling.steps is {self.sampling.steps} with the ancestral sampler, which runs all trained steps; "
                "expected sampling.sampler=ddim, or no steps",
            )

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles of the bundle that these options need in their mode, except those of the face detector."""
        renderer = (resolve_role(self.mode, role) for role in RENDERER_ROLES)
        extra = [("stitching", self.driving.stitching), ("lip", self.driving.normalize_lip)]
        return (*renderer, *MOTION_ROLES, *(role for role, needed in extra if needed))


def resolve_role(mode: Mode, network: str) -> str:
    """Return the role of a network in a mode, for example `animal_warping_module`."""
    return f"animal_{network}" if mode == "animal" and network in RENDERER_ROLES else network


def resolve_detector(config: AnimationConfig, bundle: Bundle) -> str:
    """Return the name of the face detector for these options and this bundle, or `none`.

    With `licenses=commercial`, a detector of the bundle whose weights are refused is replaced by one of the program.
    """
    if config.face.detector != "bundle":
        return config.face.detector
    name = bundle.switches.animal_detector if config.mode == "animal" else bundle.switches.detector
    is_refused = config.licenses == "commercial" and _find_refused(bundle, list_detector_roles(name))
    return _find_free_detector(config.mode) if is_refused else name


def find_detector_bundle(config: AnimationConfig, bundle: Bundle) -> Bundle | None:
    """Return the bundle of the program with the weights of the face detector; None if it uses roles of `bundle`."""
    spec = DETECTORS.get(resolve_detector(config, bundle))
    return open_bundle(spec.bundle) if spec and spec.bundle else None


def list_required_roles(config: AnimationConfig, bundle: Bundle) -> tuple[str, ...]:
    """Return the roles of the bundle that these options need in their mode, including those of the detector."""
    roles = (*config.roles, *list_retargeting_roles(config, bundle))
    return (*dict.fromkeys(roles), *list_detector_roles(resolve_detector(config, bundle)))


def uses_retargeting(config: AnimationConfig, bundle: Bundle) -> bool:
    """Return whether networks apply `mouth.open` and `eyes.open`; otherwise the expression does."""
    return config.mode == "human" and not bundle.switches.absolute_expression


def list_retargeting_roles(config: AnimationConfig, bundle: Bundle) -> tuple[str, ...]:
    """Return the roles of the networks that apply `mouth.open` and `eyes.open`."""
    wanted = [("lip", config.mouth.open), ("eye", config.eyes.open)]
    return tuple(role for role, ratio in wanted if ratio is not None and uses_retargeting(config, bundle))


def require_controls(config: AnimationConfig, bundle: Bundle) -> None:
    """Check that the bundle and the face detector can apply the controls.

    Raises:
        ConfigError: `control_unsupported`, or `license_refused`.
        ModelError: `models_missing`.
    """
    if not any_facial(config):
        return
    found = find_unsupported(config, bundle.layout, animal=config.mode == "animal")
    retargeting = list_retargeting_roles(config, bundle)
    detector = resolve_detector(config, bundle)
    openings: tuple[tuple[str, Opening, str], ...] = (("lip", "lips", "mouth.open"), ("eye", "eyes", "eyes.open"))
    for role, opening, name in openings:
        if not found and role in retargeting and not measures(detector, opening):
            found = name, f"the face detector {detector} does not measure the opening of the {opening}"
    if found:
        raise ConfigError(
            "control_unsupported",
            f"{found[0]} is set, mode {config.mode}: the bundle {bundle.name} cannot apply it, because {found[1]}; "
            "expected a bundle that can: remove it, or use another bundle or detector",
        )
    require_weights(config, bundle, retargeting)


def require_models(config: AnimationConfig, bundle: Bundle) -> None:
    """Check that all weights exist and that their licenses permit the requested use.

    Unclear terms count as non-commercial.

    Raises:
        ConfigError: `license_refused`, with the weights and an alternative; `config_invalid` if the lips are to be
            normalized with a detector that does not measure them; `control_unsupported`.
        ModelError: `models_missing`.
    """
    detector = resolve_detector(config, bundle)
    if config.driving.normalize_lip and not measures(detector, "lips"):
        raise ConfigError(
            "config_invalid",
            f"driving.normalize_lip is true with the face detector {detector}; expected a detector that measures the "
            "mouth opening: use face.detector=blazeface, or turn it off",
        )
    require_controls(config, bundle)
    require_weights(config, bundle, list_required_roles(config, bundle))


def require_weights(config: AnimationConfig, bundle: Bundle, used: Sequence[str]) -> None:
    """Check the weights of the given roles; see `require_models`."""
    if config.licenses == "commercial":
        if refused := _find_refused(bundle, used):
            raise _license_error(config, bundle, refused)
    bundle.require_roles(used)


def _find_refused(bundle: Bundle, roles: Sequence[str]) -> dict[str, License]:
    """Return the licenses of roles that do not clearly permit commercial use."""
    return {role: license for role, license in bundle.get_licenses(roles).items() if license.commercial != "yes"}


def _find_free_detector(mode: Mode) -> str:
    """Return the detector of a mode that needs no weights of a bundle, and has no restricted license."""
    return next(name for name in list_detectors(mode) if not list_detector_roles(name))


def _license_error(config: AnimationConfig, bundle: Bundle, refused: dict[str, License]) -> ConfigError:
    weights = ", ".join(f"{role} ({license.name})" for role, license in refused.items())
    detector = resolve_detector(config, bundle)
    if refused.keys() <= set(list_detector_roles(detector)):
        other = _find_free_detector(config.mode)
        weights, remedy = f"the detector {detector}: {weights}", f"use face.detector={other}, or none for a face crop"
    else:
        remedy = "use another bundle"
    return ConfigError(
        "license_refused",
        f"licenses is commercial, mode {config.mode}: found {weights}; expected weights that may clearly be used "
        f"commercially: {remedy}",
    )


def load_builtin_detector(name: str, mode: Mode, device: torch.device) -> FaceDetector:
    """Load a face detector whose weights are part of the program.

    Args:
        name: name of the detector; its entry in `DETECTORS` has a bundle.
        mode: what the pictures show.
        device: device of its networks.

    Raises:
        ConfigError: `face_detector` if the detector does not support the mode.
        ModelError: a file of the bundle is damaged.
    """
    bundle = open_bundle(str(DETECTORS[name].bundle))
    source = DetectorSource(
        device=device,
        threshold=FaceConfig.threshold,
        file=bundle.find_file,
        network=lambda role: bundle.load_network(role, device),
    )
    return build_detector(name, mode, source)


def load_people_detector(device: torch.device | None = None) -> BlazeFaceDetector:
    """Load BlazeFace, the detector for people that is part of the program; on the CPU by default."""
    return cast(BlazeFaceDetector, load_builtin_detector("blazeface", "human", device or torch.device("cpu")))


class Models:
    """Networks of one bundle and the components built from them, loaded at first use.

    Only the files of networks in use are needed; `require_models` checks all of them in advance.

    Args:
        config: options of the animation.

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

    def with_config(self, config: AnimationConfig) -> Models:
        """Return models for other options. Networks of the same bundle on the same device are shared.

        Args:
            config: options of the animation.

        Raises:
            ModelError: the bundle is unknown.
            EnvironmentFault: `device_unavailable`, `compiler_missing`.
        """
        other = Models(config)
        if (config.models, config.torch_compile, other.device) == (
            self.config.models,
            self.config.torch_compile,
            self.device,
        ):
            other._networks = self._networks
            if (config.mode, config.face) == (self.config.mode, self.config.face) and "detector" in self.__dict__:
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

    @cached_property
    def _mode_check(self) -> ModeCheck:
        shared = self.detector if isinstance(self.detector, BlazeFaceDetector) else None
        return ModeCheck(shared or load_people_detector(self.device))

    def read_picture(self, path: str | Path, options: AnimationConfig | None = None) -> Picture:
        """Read a picture, detect its face and crop it.

        Args:
            path: picture file.
            options: options of this picture; None for those of the models.

        Raises:
            InputError: the picture cannot be read, or has no suitable face.
        """
        image = read_portrait_image(path, (options or self.config).picture)
        return self.crop_portrait(image, self.detect_faces([image])[0], name=str(path), options=options)

    def detect_faces(self, images: Sequence[np.ndarray]) -> list[list[Face]]:
        """Detect the faces of pictures, none if the whole picture is used as the face crop.

        Args:
            images: results of `read_portrait_image`.
        """
        return detect_faces(self.detector, images) if self.detector else [[] for _ in images]

    def crop_portrait(
        self, image: np.ndarray, faces: Sequence[Face], *, name: str, options: AnimationConfig | None = None
    ) -> Picture:
        """Crop the selected face of a picture.

        Args:
            image: result of `read_portrait_image`.
            faces: faces of the picture, by `detect_faces`.
            name: name of the picture in errors and warnings.
            options: options of this picture; None for those of the models.

        Raises:
            InputError: the picture has no suitable face.
        """
        options, detector = options or self.config, self.detector
        if detector is None:
            return Picture(image, crop=None)
        check = self._mode_check
        people = faces if check.people is detector else None
        is_mismatch = check.contradicts(options.mode, image, people)
        crop = options.framing.apply(options.crop)
        return crop_portrait(image, faces, options.face, crop, name=name, mode=options.mode, is_mismatch=is_mismatch)

    @cached_property
    def encoder(self) -> PortraitEncoder:
        """Encoder that turns pictures into portraits."""
        return PortraitEncoder(
            self.network("appearance_feature_extractor"),
            self.network("motion_extractor"),
            input_size=self.bundle.switches.input_size,
            device=self.device,
            precision=self.config.precision,
        )

    @cached_property
    def motion_reader(self) -> CropMotionReader:
        """Reader of the motion in face crops, with the motion extractor."""
        return CropMotionReader(
            self.network("motion_extractor"),
            input_size=self.bundle.switches.input_size,
            device=self.device,
            precision=self.config.precision,
            batch_frames=self.count_batch_frames("motion_extractor"),
        )

    def read_motion(
        self, path: str | Path, on_progress: Progress | None = None, options: AnimationConfig | None = None
    ) -> DrivingMotion:
        """Read the motion in a motion file, at its own frame rate, or in a video of a person, at that of the bundle.

        Args:
            path: motion file or video; its content decides which.
            on_progress: see `DrivingVideoReader.read`.
            options: options for this file; None for those of the models.

        Raises:
            InputError: see `joyvasa.motion.video.read_driving_motion`.
            ConfigError: `license_refused`.
            ModelError: `models_missing`.
        """
        return read_driving_motion(path, lambda: self.build_video_reader(options), on_progress)

    def build_video_reader(self, options: AnimationConfig | None = None) -> DrivingVideoReader:
        """Create the reader of the motion in videos of people, which also drive animals.

        Args:
            options: options for the video; None for those of the models.

        Raises:
            ConfigError: `license_refused`.
            ModelError: `models_missing`.
        """
        options = options or self.config
        models = self if self.config.mode == "human" else self._human_models
        detector = resolve_detector(models.config, self.bundle) if options.driving_video.crop else "none"
        roles = ("motion_extractor", *list_detector_roles(detector))
        require_weights(models.config, self.bundle, roles)
        return DrivingVideoReader(
            None if detector == "none" else models.detector,
            models.motion_reader,
            options.driving_video,
            frames_per_second=self.bundle.switches.frames_per_second,
            min_side=options.face.min_side,
            provenance={"bundle": self.bundle.name, "fingerprint": self.bundle.compute_fingerprint(roles)},
        )

    @cached_property
    def _human_models(self) -> Models:
        face = replace(self.config.face, detector="bundle")
        return self.with_config(replace(self.config, mode="human", face=face))

    @cached_property
    def motion_model(self) -> MotionModel:
        """Model that generates motion from sound.

        Raises:
            ModelError: `bundle_invalid` if the network of the bundle is not a motion model for 16 kHz sound.
        """
        network = self.network("motion_generator")
        if not isinstance(network, MotionModel):
            actual = f"{type(network).__name__}, which lacks some of sizes, encode and sample"
        elif network.sizes.sample_rate != SAMPLE_RATE:
            actual = f"{type(network).__name__} for sound of {network.sizes.sample_rate} Hz"
        else:
            return network
        raise ModelError(
            "bundle_invalid",
            f"bundle {self.bundle.name}: the role motion_generator is {actual}; expected a motion model for sound of "
            f"{SAMPLE_RATE} Hz: correct `network` of the role",
        )

    @cached_property
    def template(self) -> MotionTemplate:
        """Statistics that denormalize the output of the motion model."""
        return self.bundle.load_template()

    @cached_property
    def renderer(self) -> Renderer:
        """Renderer of frames from keypoints."""
        return Renderer(self.network("warping_module"), self.network("spade_generator"))

    @cached_property
    def batch_frames(self) -> int:
        """Number of frames to render in one call."""
        return self.count_batch_frames(*FRAME_ROLES)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights and switches that the options use."""
        return self.bundle.compute_fingerprint(self.config.roles)

    def stream_sound(self, path: str | Path) -> Iterator[np.ndarray]:
        """Stream a recording in the form that the motion model expects.

        Returns:
            Blocks of samples, float32 (n,), 16 kHz mono.
        """
        normalize = self.bundle.switches.audio_normalization == "zero_mean_unit_variance"
        return stream_normalized(path) if normalize else stream_audio(path)

    def plan_speech(self, n_samples: int) -> WindowPlan:
        """Plan the windows of a recording of `n_samples` at 16 kHz."""
        return plan_windows(
            n_samples,
            self.motion_model.sizes,
            padding_samples=self.bundle.switches.audio_padding_samples,
            timing=self.config.sampling.timing,
        )

    def build_controller(self, options: AnimationConfig | None = None) -> MotionController:
        """Create the object that applies the controls of a video; `options` as for `build_driver`."""
        options = options or self.config
        return MotionController(
            options, self.bundle.layout, self.template, lips_by_network=uses_retargeting(options, self.bundle)
        )

    def build_driver(
        self, portrait: Portrait, motion: MotionSequence, options: AnimationConfig | None = None
    ) -> PortraitDriver:
        """Create the driver that applies a motion to a portrait.

        Args:
            portrait: portrait to drive.
            motion: motion that drives it, as `MotionController.shape` returns it.
            options: options of this video; None for those of the models.

        Raises:
            InputError: `keypoints_mismatch`.
        """
        options = options or self.config
        driving = options.driving.for_mode(options.mode)
        retargeting = list_retargeting_roles(options, self.bundle)
        picture = portrait.picture
        return PortraitDriver(
            driving,
            source=portrait.keypoints,
            first_frame=motion[:1],
            stitching=self.network("stitching") if driving.stitching else None,
            lip=self.network("lip") if driving.normalize_lip or "lip" in retargeting else None,
            source_lip_ratio=picture.lip_ratio,
            target_lip_ratio=options.mouth.open if "lip" in retargeting else None,
            eye=self.network("eye") if "eye" in retargeting else None,
            source_eye_ratios=picture.eye_ratios,
            target_eye_ratio=options.eyes.open if "eye" in retargeting else None,
            controller=self.build_controller(options),
            absolute_expression=self.bundle.switches.absolute_expression,
        )

    def read_source_video(
        self, path: str | Path, options: AnimationConfig | None = None, on_progress: Progress | None = None
    ) -> SourceVideo:
        """Follow the face of a video that is to be animated.

        Args:
            path: video file.
            options: options of this video; None for those of the models.
            on_progress: see `FaceFollower.follow`.

        Raises:
            InputError: see `FaceFollower.follow`.
        """
        options = options or self.config
        face, crop = options.face, options.framing.apply(options.crop)
        info = probe_video(path)
        width, height = options.picture.limit_size(info.width, info.height)
        frames = VideoFrames(Path(path), info, info.frames_per_second, width, height)
        follower = FaceFollower(
            detector=self.detector,
            index=face.index,
            option="face.index",
            min_side=face.min_side,
            scale=crop.scale,
            vx_ratio=crop.vx_ratio,
            vy_ratio=crop.vy_ratio,
        )
        followed = follower.follow(frames, on_progress)
        warnings = follower.describe(
            frames, followed, hidden="these frames stay as they are", cut="the face is followed in each scene"
        )
        return SourceVideo(frames, followed, warnings)

    def first_picture(self, source: SourceVideo, options: AnimationConfig | None = None) -> Picture:
        """Return the first frame of a source video that shows the face."""
        return source.first_picture((options or self.config).crop, whole=self.detector is None)

    def render_source_video(
        self, source: SourceVideo, motion: MotionSequence, options: AnimationConfig | None = None
    ) -> Iterator[np.ndarray]:
        """Yield the frames of a source video with another motion, see `SourceVideoRenderer.render`.

        Args:
            source: source video.
            motion: motion at the rate of the video, as `MotionController.shape` returns it.
            options: options of this video; None for those of the models.
        """
        options = options or self.config
        driving = replace(options.driving, region=options.source_video.region, normalize_lip=False)
        driving = driving.for_mode(options.mode)
        controller = self.build_controller(options)

        def build_driver(keypoints: KeypointInfo) -> PortraitDriver:
            return PortraitDriver(
                driving,
                source=keypoints,
                first_frame=motion[:1],
                stitching=self.network("stitching") if driving.stitching else None,
                controller=controller,
                absolute_expression=self.bundle.switches.absolute_expression,
                source_moves=True,
            )

        renderer = SourceVideoRenderer(
            self.encoder,
            self.renderer,
            build_driver=build_driver,
            build_composer=lambda picture: self.build_composer(picture, options),
            crop=options.crop,
            whole=self.detector is None,
            batch_frames=self.batch_frames,
            device=self.device,
            precision=options.precision,
        )
        return renderer.render(source, motion)

    def build_composer(self, picture: Picture, options: AnimationConfig | None = None) -> FrameComposer:
        """Create the composer that turns rendered crops into frames of the video; `options` as for `build_driver`."""
        return FrameComposer(
            picture,
            paste_back=(options or self.config).paste_back,
            output_size=self.bundle.switches.output_size,
            device=self.device,
            mark=f"{self.bundle.name} weights" if self.bundle.synthetic else None,
        )

    def describe_video(self, seed: int) -> str:
        """Return the comment stored in the metadata of a video."""
        return video_comment(
            bundle=self.bundle.name, fingerprint=self.fingerprint, seed=seed, synthetic=self.bundle.synthetic
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about the models and about ffmpeg, for the user."""
        if not self.bundle.synthetic:
            return (*self.bundle.notes, *ffmpeg_warnings())
        note = f"models {self.bundle.name}: random weights, for tests only; the video is meaningless"
        return (note, *ffmpeg_warnings())
