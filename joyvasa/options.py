"""Options of an animation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from joyvasa.config import check_ranges, ranged
from joyvasa.errors import ConfigError
from joyvasa.faces.geometry import CropConfig, FramingControls
from joyvasa.faces.registry import DETECTORS, check_detector, list_detectors
from joyvasa.media.video_writer import EncodingConfig
from joyvasa.mode import MODES, Mode
from joyvasa.motion.controls import (
    SMILES,
    BlinkControls,
    ExpressionControls,
    EyeControls,
    GazeControls,
    MouthControls,
    PoseControls,
)
from joyvasa.motion.driving import DrivingConfig
from joyvasa.motion.sampling import SamplingConfig
from joyvasa.motion.smoothing import SmoothingConfig
from joyvasa.motion.video import DrivingVideoConfig
from joyvasa.rendering.portrait import FaceConfig, PictureConfig
from joyvasa.rendering.source_video import SourceVideoConfig
from joyvasa.runtime.device import Precision


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

        check_detector(self.face.detector)

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

    def for_mode(self, mode: Mode) -> AnimationConfig:
        """Return the options for a row of a run, whose rows may have both modes.

        An option that exists in one mode only has no effect on rows of the other: a detector for people or for animals,
        and `driving.normalize_lip`.
        """
        is_other = self.face.detector in DETECTORS and self.face.detector not in list_detectors(mode)
        face = replace(self.face, detector="bundle") if is_other else self.face
        driving = replace(self.driving, normalize_lip=False) if mode == "animal" else self.driving
        return replace(self, mode=mode, face=face, driving=driving)
