"""Networks of a bundle and the components that are built from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from joyvasa import __version__
from joyvasa.bundles.detectors import load_people_detector
from joyvasa.bundles.networks import LoadedNetworks
from joyvasa.bundles.requirements import (
    FRAME_ROLES,
    list_network_roles,
    list_retargeting_roles,
    require_source_controls,
    require_weights,
    resolve_detector,
    uses_retargeting,
)
from joyvasa.errors import ModelError
from joyvasa.faces.blazeface import BlazeFaceDetector
from joyvasa.faces.detection import Face, detect_faces
from joyvasa.faces.mode_check import ModeCheck
from joyvasa.faces.registry import list_detector_roles
from joyvasa.faces.video import Progress
from joyvasa.media.audio import SAMPLE_RATE, stream_audio, stream_normalized
from joyvasa.media.ffmpeg import ffmpeg_warnings
from joyvasa.motion.controller import MotionController
from joyvasa.motion.driving import PortraitDriver
from joyvasa.motion.extraction import CropMotionReader
from joyvasa.motion.file import load_motion
from joyvasa.motion.keypoints import KeypointInfo
from joyvasa.motion.model import MotionModel
from joyvasa.motion.sequence import MotionSequence, MotionTemplate
from joyvasa.motion.video import DrivingMotion, DrivingVideoReader, is_video
from joyvasa.motion.windows import WindowPlan, plan_windows
from joyvasa.options import AnimationConfig
from joyvasa.rendering.compose import FrameComposer
from joyvasa.rendering.portrait import Picture, Portrait, PortraitEncoder, crop_portrait, read_portrait_image
from joyvasa.rendering.renderer import Renderer
from joyvasa.rendering.source_video import SourceVideo, SourceVideoRenderer, open_source_video


class Models(LoadedNetworks):
    """Networks of one bundle and the components built from them, all created at first use.

    Where a method has `options`, they replace those of the models for one picture, file or video.

    Raises:
        ModelError: the bundle is unknown.
        EnvironmentFault: `device_unavailable`, `compiler_missing`.
    """

    @cached_property
    def _mode_check(self) -> ModeCheck:
        shared = self.detector if isinstance(self.detector, BlazeFaceDetector) else None
        return ModeCheck(shared or load_people_detector(self.device))

    def read_picture(self, path: str | Path, options: AnimationConfig | None = None) -> Picture:
        """Read a picture, detect its face and crop it.

        Raises:
            InputError: the picture cannot be read, or has no suitable face.
        """
        image = read_portrait_image(path, (options or self.config).picture)
        return self.crop_portrait(image, self.detect_faces([image])[0], name=str(path), options=options)

    def detect_faces(self, images: Sequence[np.ndarray]) -> list[list[Face]]:
        """Detect the faces of pictures, none if the whole picture is used as the face crop."""
        return detect_faces(self.detector, images) if self.detector else [[] for _ in images]

    def crop_portrait(
        self, image: np.ndarray, faces: Sequence[Face], *, name: str, options: AnimationConfig | None = None
    ) -> Picture:
        """Crop the selected face of a picture.

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

        Raises:
            InputError: see `load_motion` and `DrivingVideoReader.read`.
            ConfigError: `license_refused`.
            ModelError: `models_missing`.
        """
        if is_video(path):
            return self.build_video_reader(options).read(path, on_progress)
        return DrivingMotion(load_motion(path))

    def build_video_reader(self, options: AnimationConfig | None = None) -> DrivingVideoReader:
        """Create the reader of the motion in videos of people, which also drive animals.

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
        return self.with_config(self.config.for_mode("human"))

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
        return self.bundle.compute_fingerprint(list_network_roles(self.config))

    def stream_sound(self, path: str | Path) -> Iterator[np.ndarray]:
        """Stream a recording as the motion model expects it: 16 kHz mono in blocks of shape (n,), float32."""
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
        """Create the object that applies the controls of a video."""
        options = options or self.config
        return MotionController(
            options,
            self.bundle.layout,
            self.template,
            animal=options.mode == "animal",
            lips_by_network=uses_retargeting(options, self.bundle),
        )

    def build_driver(
        self, portrait: Portrait, motion: MotionSequence, options: AnimationConfig | None = None
    ) -> PortraitDriver:
        """Create the driver that applies a motion, as `MotionController.shape` returns it, to a portrait.

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

        Raises:
            InputError: see `FaceFollower.follow`.
        """
        options = options or self.config
        crop = options.framing.apply(options.crop)
        return open_source_video(
            Path(path), self.detector, picture=options.picture, face=options.face, crop=crop, on_progress=on_progress
        )

    def first_picture(self, source: SourceVideo, options: AnimationConfig | None = None) -> Picture:
        """Return the first frame of a source video that shows the face."""
        return source.first_picture((options or self.config).crop, whole=self.detector is None)

    def render_source_video(
        self, source: SourceVideo, motion: MotionSequence, options: AnimationConfig | None = None
    ) -> Iterator[np.ndarray]:
        """Yield the frames of a source video with another motion at its rate, see `SourceVideoRenderer.render`.

        Raises:
            ConfigError: `control_unsupported`.
        """
        options = options or self.config
        require_source_controls(options, self.bundle)
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
        """Create the composer that turns rendered crops into frames of the video."""
        return FrameComposer(
            picture,
            paste_back=(options or self.config).paste_back,
            output_size=self.bundle.switches.output_size,
            device=self.device,
            mark=f"{self.bundle.name} weights" if self.bundle.synthetic else None,
        )

    def describe_video(self, seed: int) -> str:
        """Return the comment stored in the metadata of a video."""
        warning = "; RANDOM WEIGHTS, for tests only" if self.bundle.synthetic else ""
        models = f"models {self.bundle.name} {self.fingerprint[:12]}"
        return f"generated by joyvasa {__version__}; {models}; seed {seed}{warning}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about the models and about ffmpeg, for the user."""
        if not self.bundle.synthetic:
            return (*self.bundle.notes, *ffmpeg_warnings())
        note = f"models {self.bundle.name}: random weights, for tests only; the video is meaningless"
        return (note, *ffmpeg_warnings())
