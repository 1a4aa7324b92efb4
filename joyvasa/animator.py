"""Animate one portrait with a recording, a motion file or a driving video."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from joyvasa.bundles.requirements import require_controls, require_models
from joyvasa.errors import InputError, InputWarning
from joyvasa.faces.video import Progress
from joyvasa.media.audio import AudioInfo, probe_audio
from joyvasa.media.ffmpeg import Clock, check_media
from joyvasa.media.image import Image, check_file
from joyvasa.media.video_writer import VideoWriter, check_encoder, check_output_path
from joyvasa.models import Models
from joyvasa.motion.mixing import mix_motions
from joyvasa.motion.sampling import Recording, encode_windows, sample_motion
from joyvasa.motion.sequence import MotionSequence
from joyvasa.motion.smoothing import smooth_motion
from joyvasa.motion.timing import fit_motion_length, resample_motion
from joyvasa.motion.windows import iterate_windows
from joyvasa.options import AnimationConfig
from joyvasa.rendering.portrait import Picture, Portrait
from joyvasa.rendering.source_video import is_source_video
from joyvasa.runtime.device import autocast
from joyvasa.runtime.prefetching import prefetch_results


@dataclass(frozen=True)
class Animation:
    """Result of `Animator.animate`."""

    path: Path
    n_frames: int
    frames_per_second: float
    width: int
    height: int
    seed: int
    elapsed_s: float
    warnings: tuple[str, ...]
    picture: Picture = field(repr=False)
    motion: MotionSequence = field(repr=False)

    @property
    def duration_s(self) -> float:
        """Duration of the video in seconds."""
        return self.n_frames / self.frames_per_second


@dataclass(frozen=True)
class _Soundtrack:
    """A file whose sound becomes that of the video."""

    path: Path
    channels: int
    clock: Clock


class Animator:
    """Animate portraits with one bundle and one configuration. Networks are loaded once, at first use.

    Args:
        config: options of the animation.
        models: models of another animator; networks that fit this configuration are shared.

    Raises:
        ModelError: the bundle is unknown, or files that the options need are missing.
        ConfigError: `license_refused`.
        EnvironmentFault: `device_unavailable`, `encoder_unavailable`.
    """

    def __init__(self, config: AnimationConfig, *, models: Models | None = None) -> None:
        self.config = config
        self.models = Models(config) if models is None else models.with_config(config)
        self.bundle = self.models.bundle
        require_models(config, self.bundle)
        check_encoder(config.encoding)

    def animate(
        self,
        image: str | Path,
        audio: str | Path | None,
        output: str | Path,
        *,
        motion: str | Path | None = None,
        seed: int | None = None,
        on_progress: Progress | None = None,
    ) -> Animation:
        """Make one video. On failure no file is left behind.

        Args:
            image: picture file with the portrait, or a video whose face is animated in every frame.
            audio: media file with a sound stream; None if there is a `motion`.
            output: `*.mp4` file; an existing one is replaced once the new video is complete.
            motion: motion file, or video whose face drives the portrait; with `audio`, the option `driving.mouth_from`
                decides what the lips follow, and the motion gets the length of the recording. Without `audio`, a video
                also gives the sound.
            seed: seed of the motion; the seed of the configuration by default.
            on_progress: callback that receives the step (`faces` and `video frames` of a driving video, `motion`,
                counted in windows, or `frames`), the number of finished units and the total, None if unknown.

        Raises:
            JoyvasaError: bad input, missing models, or an output that cannot be written.
        """
        started = time.monotonic()
        seed = self.config.seed if seed is None else seed
        output = Path(output)
        check_paths(image, audio, output, motion=motion)

        info = None if audio is None else probe_audio(audio, allow_silence=self.config.audio.allow_silence)
        source = self.models.read_source_video(image, on_progress=on_progress) if is_source_video(image) else None
        picture = self.models.first_picture(source) if source else self.read_picture(image)
        portrait = None if source else self.encode_portraits([picture])[0]
        sequence, soundtrack, warnings = self._make_motion(audio, info, motion, seed, on_progress)
        if source:
            sequence, length_warnings = source.fit_motion(sequence)
            warnings = (*source.warnings, *warnings, *length_warnings)
            shaped = self.models.build_controller().shape(sequence, seed)
            frames = self.models.render_source_video(source, shaped)
        else:
            assert portrait is not None
            frames = self._render_portrait(portrait, self.models.build_controller().shape(sequence, seed))
        width, height = self._write(frames, picture, sequence, soundtrack, output, seed, on_progress)

        return Animation(
            path=output,
            n_frames=len(sequence),
            frames_per_second=sequence.frames_per_second,
            width=width,
            height=height,
            seed=seed,
            elapsed_s=time.monotonic() - started,
            warnings=(*self.models.warnings, *(warning.sentence for warning in (*picture.warnings, *warnings))),
            picture=picture,
            motion=sequence,
        )

    def preview(self, portrait: Portrait, options: AnimationConfig | None = None) -> Image:
        """Render one frame that shows a portrait at rest, with the controls of a configuration.

        Args:
            portrait: result of `encode_portraits`; if options of face, crop or framing change, encode it again.
            options: options of the frame, with the models of this animator; None for those of the animator.

        Returns:
            The frame as in a video, uint8 RGB (height, width, 3).

        Raises:
            ConfigError: `control_unsupported`.
        """
        options, models = options or self.config, self.models
        require_controls(options, self.bundle)
        rest = models.build_controller(options).rest(portrait.keypoints)
        driver, composer = (
            models.build_driver(portrait, rest, options),
            models.build_composer(portrait.picture, options),
        )
        with autocast(models.device, self.config.precision):
            crops = models.renderer.render(portrait.feature, driver.source_keypoints, driver.keypoints(rest))
        return composer.frames(crops)[0]

    def read_picture(self, path: str | Path, options: AnimationConfig | None = None) -> Picture:
        """Read a picture, detect its face and crop it; `options` as for `preview`."""
        return self.models.read_picture(path, options)

    def encode_portraits(self, pictures: Sequence[Picture]) -> list[Portrait]:
        """Compute appearance features and keypoints of pictures."""
        return self.models.encoder.encode(pictures)

    def prepare_recording(self, path: str | Path, info: AudioInfo, seed: int) -> Recording:
        """Prepare a recording for the motion model of this bundle."""
        models = self.models
        plan = models.plan_speech(info.n_samples)
        # An iterator: windows are encoded one at a time.
        windows = iterate_windows(models.stream_sound(path), plan)
        features = encode_windows(models.motion_model, windows, device=models.device)
        return Recording(plan, features, torch.Generator().manual_seed(seed))

    def sample_motions(
        self, recordings: Sequence[Recording], on_progress: Progress | None = None
    ) -> list[MotionSequence]:
        """Sample and smooth the motion of recordings."""
        with autocast(self.models.device, self.config.precision):
            motions = sample_motion(
                self.models.motion_model,
                recordings,
                self.models.template,
                self.config.sampling,
                device=self.models.device,
                on_window=(lambda done, total: on_progress("motion", done, total)) if on_progress else None,
            )
        return [smooth_motion(motion, self.config.smoothing) for motion in motions]

    def _make_motion(
        self,
        audio: str | Path | None,
        info: AudioInfo | None,
        motion: str | Path | None,
        seed: int,
        on_progress: Progress | None,
    ) -> tuple[MotionSequence, _Soundtrack | None, tuple[InputWarning, ...]]:
        """Return the motion, the soundtrack and warnings."""
        driving = None if motion is None else self.models.read_motion(motion, on_progress)
        warnings = (*(info.warnings if info else ()), *(driving.warnings if driving else ()))

        if audio is None or info is None:
            assert driving is not None
            assert motion is not None
            sequence = resample_motion(driving.file.motion, self.bundle.switches.frames_per_second)
            soundtrack = _Soundtrack(Path(motion), driving.sound_channels, "file") if driving.sound_channels else None
            return sequence, soundtrack, warnings

        soundtrack = _Soundtrack(Path(audio), info.channels, "samples")
        sampled = None
        if driving is None or self.config.driving.mixes_mouth:
            sampled = self.sample_motions([self.prepare_recording(audio, info, seed)], on_progress)[0]
        if driving is None:
            assert sampled is not None
            return sampled, soundtrack, warnings
        n_frames = self.models.plan_speech(info.n_samples).n_frames
        sequence = resample_motion(driving.file.motion, self.models.motion_model.sizes.frames_per_second)
        sequence = fit_motion_length(sequence, n_frames)
        return mix_motions(sequence, sampled or sequence, self.config.driving), soundtrack, warnings

    def _render_portrait(self, portrait: Portrait, motion: MotionSequence) -> Iterator[np.ndarray]:
        """Yield the frames of a portrait in batches, uint8 RGB (batch, height, width, 3)."""
        models = self.models
        driver, composer = models.build_driver(portrait, motion), models.build_composer(portrait.picture)

        def render(start: int) -> torch.Tensor:
            keypoints = driver.keypoints(motion[start : start + models.batch_frames])
            with autocast(models.device, self.config.precision):
                return models.renderer.render(portrait.feature, driver.source_keypoints, keypoints)

        # A second core or a GPU renders while this thread composes; a single core has nothing to gain.
        ahead = 1 if models.device.type != "cpu" or torch.get_num_threads() > 1 else 0
        starts = range(0, len(motion), models.batch_frames)
        for crops in prefetch_results(render, starts, threads=1, ahead=ahead):
            yield composer.frames(crops)

    def _write(
        self,
        frames: Iterator[np.ndarray],
        picture: Picture,
        motion: MotionSequence,
        soundtrack: _Soundtrack | None,
        output: Path,
        seed: int,
        on_progress: Progress | None,
    ) -> tuple[int, int]:
        """Render and encode the video batch by batch; return its width and height."""
        composer = self.models.build_composer(picture)
        with VideoWriter(
            output,
            width=composer.width,
            height=composer.height,
            frames_per_second=motion.frames_per_second,
            n_frames=len(motion),
            sound=soundtrack.path if soundtrack else None,
            sound_channels=soundtrack.channels if soundtrack else 0,
            sound_clock=soundtrack.clock if soundtrack else "samples",
            config=self.config.encoding,
            metadata={"comment": self.models.describe_video(seed)},
        ) as writer:
            n_written = 0
            for batch in frames:
                writer.write(batch)
                n_written += len(batch)
                if on_progress:
                    on_progress("frames", n_written, len(motion))
        return composer.width, composer.height


def check_paths(image: str | Path, audio: str | Path | None, output: Path, *, motion: str | Path | None = None) -> None:
    """Check the files of `Animator.animate`, which takes less time than loading the models.

    Raises:
        InputError: `motion_missing`, `image_missing`, `audio_missing` or another reason why an input cannot be read.
        OutputError: `output_unwritable`, `disk_full` or `output_is_input`.
    """
    check_output_path(output, [Path(path) for path in (image, audio, motion) if path is not None])
    if audio is None and motion is None:
        raise InputError("motion_missing", "neither a recording nor a motion; expected one of them: name a file")
    with contextlib.suppress(OSError, ValueError):  # reported by the reader
        check_file(Path(image))
    if audio is not None:
        check_media(Path(audio), "audio")
