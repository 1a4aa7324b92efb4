"""One portrait and one recording become one video."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import cast

import torch
from torch import nn

from joyvasa.audio import AudioInfo, probe_audio, stream_audio, stream_normalised
from joyvasa.bundles import Bundle, open_bundle
from joyvasa.compose import FrameComposer
from joyvasa.device import Precision, autocast, choose_device
from joyvasa.driving import DrivingConfig, HumanDriver
from joyvasa.errors import ConfigError
from joyvasa.faces.detection import FaceDetector, build_detector
from joyvasa.faces.geometry import CropConfig
from joyvasa.motion import MotionSequence, MotionTemplate
from joyvasa.networks.motion_generator import MotionGenerator
from joyvasa.portrait import FaceConfig, Picture, PictureConfig, Portrait, PortraitEncoder, read_picture
from joyvasa.provenance import description
from joyvasa.rendering import Renderer
from joyvasa.sampling import Recording, SamplingConfig, sample_motion
from joyvasa.smoothing import SmoothingConfig, smooth
from joyvasa.video import EncodingConfig, VideoWriter, check_output

Progress = Callable[[str, int, int], object]  # step, done, total

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


@dataclass(frozen=True)
class Animation:
    """What was made."""

    path: Path
    n_frames: int
    frames_per_second: float
    width: int
    height: int
    seed: int
    elapsed_s: float
    warnings: tuple[str, ...]

    @property
    def duration_s(self) -> float:
        """Seconds of video."""
        return self.n_frames / self.frames_per_second


class Animator:
    """Animates portraits with one bundle and one configuration; networks load once, when first needed.

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

    def animate(
        self,
        image: str | Path,
        audio: str | Path,
        output: str | Path,
        *,
        seed: int | None = None,
        on_progress: Progress | None = None,
    ) -> Animation:
        """Makes one video; leaves no file behind when it cannot.

        Args:
            image: portrait, any picture file.
            audio: recording, any file with sound.
            output: `*.mp4`; replaced when the new video is whole.
            seed: in the place of the configuration's.
            on_progress: called with a step (`motion` in windows, `frames`), what is done and the total.

        Raises:
            JoyvasaError: bad input, missing models, an unwritable output, one sentence each.
        """
        started = time.monotonic()
        seed = self.config.seed if seed is None else seed
        output = Path(output)
        check_output(output)
        info = probe_audio(audio, allow_silence=self.config.audio.allow_silence)
        picture = self.read_picture(image)
        portrait = self.encode_portraits([picture])[0]
        motion = self.sample([self.recording(audio, info, seed)], on_progress)[0]
        width, height = self._render(portrait, motion, Path(audio), output, seed, on_progress)
        return Animation(
            path=output,
            n_frames=len(motion),
            frames_per_second=motion.frames_per_second,
            width=width,
            height=height,
            seed=seed,
            elapsed_s=time.monotonic() - started,
            warnings=(*self._model_warnings(), *picture.warnings),
        )

    def read_picture(self, path: str | Path) -> Picture:
        """A picture, its face found and cut out."""
        return read_picture(path, self._detector, self.config.picture, self.config.face, self.config.crop)

    def encode_portraits(self, pictures: Sequence[Picture]) -> list[Portrait]:
        """Appearance and keypoints of the pictures."""
        return self._encoder.encode(pictures)

    def recording(self, path: str | Path, info: AudioInfo, seed: int) -> Recording:
        """A recording as the motion generator of this bundle takes it.

        Args:
            path: of the file.
            info: of `probe_audio` for this file.
            seed: of its motion.
        """
        normalise = self.bundle.switches.audio_normalisation == "zero_mean_unit_variance"
        blocks = stream_normalised(path) if normalise else stream_audio(path)
        return Recording(info.n_samples, blocks, torch.Generator().manual_seed(seed))

    def sample(self, recordings: Sequence[Recording], on_progress: Progress | None = None) -> list[MotionSequence]:
        """Smoothed motion for the recordings."""
        with autocast(self.device, self.config.precision):
            motions = sample_motion(
                self._motion_generator,
                recordings,
                self._template,
                self.config.sampling,
                padding_samples=self.bundle.switches.audio_padding_samples,
                device=self.device,
                on_window=(lambda done, total: on_progress("motion", done, total)) if on_progress else None,
            )
        return [smooth(motion, self.config.smoothing) for motion in motions]

    def _render(
        self,
        portrait: Portrait,
        motion: MotionSequence,
        sound: Path,
        output: Path,
        seed: int,
        on_progress: Progress | None,
    ) -> tuple[int, int]:
        """Renders and encodes at the same time; gives the size of the video, width and height."""
        driver = HumanDriver(
            self.config.driving,
            source=portrait.keypoints,
            first_frame=motion[:1],
            stitching=self._network("stitching") if self.config.driving.stitching else None,
            lip=self._network("lip") if self.config.driving.normalize_lip else None,
            source_lip_ratio=portrait.picture.lip_ratio,
        )
        composer = FrameComposer(
            portrait.picture,
            paste_back=self.config.paste_back,
            output_size=self.bundle.switches.output_size,
            mark=f"{self.bundle.name} weights" if self.bundle.synthetic else None,
        )
        tag = description(
            bundle=self.bundle.name,
            fingerprint=self._fingerprint,
            seed=seed,
            synthetic=self.bundle.synthetic,
        )
        with VideoWriter(
            output,
            width=composer.width,
            height=composer.height,
            frames_per_second=motion.frames_per_second,
            n_frames=len(motion),
            sound=sound,
            config=self.config.encoding,
            metadata={"comment": tag},
        ) as writer:
            for start in range(0, len(motion), self.config.batch_frames):
                keypoints = driver.keypoints(motion[start : start + self.config.batch_frames])
                with autocast(self.device, self.config.precision):
                    crops = self._renderer.render(portrait.feature, driver.source_keypoints, keypoints)
                writer.write(composer.compose(crops.cpu().numpy()))
                if on_progress:
                    on_progress("frames", min(start + self.config.batch_frames, len(motion)), len(motion))
        return composer.width, composer.height

    def _model_warnings(self) -> tuple[str, ...]:
        if not self.bundle.synthetic:
            return self.bundle.notes
        return (f"models {self.bundle.name}: random weights, for tests only; the picture means nothing",)

    def _network(self, role: str) -> nn.Module:
        if role not in self._networks:
            self._networks[role] = self.bundle.network(role, self.device)
        return self._networks[role]

    @cached_property
    def _detector(self) -> FaceDetector | None:
        wanted = self.config.face.detector
        name = self.bundle.switches.detector if wanted == "bundle" else wanted
        if name == "none":
            return None
        files = {role: self.bundle.file(role) for role in DETECTOR_ROLES[name]}
        return build_detector(name, files=files, device=str(self.device), threshold=self.config.face.threshold)

    @cached_property
    def _motion_generator(self) -> MotionGenerator:
        return cast("MotionGenerator", self._network("motion_generator"))

    @cached_property
    def _template(self) -> MotionTemplate:
        return self.bundle.template()

    @cached_property
    def _encoder(self) -> PortraitEncoder:
        return PortraitEncoder(
            self._network("appearance_feature_extractor"),
            self._network("motion_extractor"),
            input_size=self.bundle.switches.input_size,
            device=self.device,
            precision=self.config.precision,
        )

    @cached_property
    def _renderer(self) -> Renderer:
        return Renderer(self._network("warping_module"), self._network("spade_generator"))

    @cached_property
    def _fingerprint(self) -> str:
        return self.bundle.fingerprint(self.config.roles)
