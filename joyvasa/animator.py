"""Animate one portrait with one recording."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from joyvasa.errors import OutputError
from joyvasa.media.audio import AudioInfo, probe_audio
from joyvasa.media.video_writer import VideoWriter, check_encoder, check_output_path
from joyvasa.models import AnimationConfig, Models, require_models
from joyvasa.motion.sampling import Recording, encode_recording, sample_motion
from joyvasa.motion.sequence import MotionSequence
from joyvasa.motion.smoothing import smooth_motion
from joyvasa.rendering.portrait import Picture, Portrait
from joyvasa.runtime.device import autocast

Progress = Callable[[str, int, int], object]  # step, done, total


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
        audio: str | Path,
        output: str | Path,
        *,
        seed: int | None = None,
        on_progress: Progress | None = None,
    ) -> Animation:
        """Make one video. On failure no file is left behind.

        Args:
            image: picture file with the portrait.
            audio: media file with a sound stream.
            output: `*.mp4` file; an existing one is replaced once the new video is complete.
            seed: seed of the motion; the seed of the configuration by default.
            on_progress: callback that receives the step (`motion`, counted in windows, or `frames`), the number of
                finished units and the total.

        Raises:
            JoyvasaError: bad input, missing models, or an output that cannot be written.
        """
        started = time.monotonic()
        seed = self.config.seed if seed is None else seed
        output = Path(output)
        check_output_path(output)
        _refuse_overwriting(output, (Path(image), Path(audio)))

        info = probe_audio(audio, allow_silence=self.config.audio.allow_silence)
        picture = self.read_picture(image)
        portrait = self.encode_portraits([picture])[0]
        motion = self.sample_motions([self.prepare_recording(audio, info, seed)], on_progress)[0]
        width, height = self._render(portrait, motion, Path(audio), info.channels, output, seed, on_progress)

        return Animation(
            path=output,
            n_frames=len(motion),
            frames_per_second=motion.frames_per_second,
            width=width,
            height=height,
            seed=seed,
            elapsed_s=time.monotonic() - started,
            warnings=(*self.models.warnings, *(warning.sentence for warning in (*picture.warnings, *info.warnings))),
            picture=picture,
            motion=motion,
        )

    def read_picture(self, path: str | Path) -> Picture:
        """Read a picture, detect its face and crop it."""
        return self.models.read_picture(path)

    def encode_portraits(self, pictures: Sequence[Picture]) -> list[Portrait]:
        """Compute appearance features and keypoints of pictures."""
        return self.models.encoder.encode(pictures)

    def prepare_recording(self, path: str | Path, info: AudioInfo, seed: int) -> Recording:
        """Prepare a recording for the motion model of this bundle.

        Args:
            path: path of the recording.
            info: result of `probe_audio` for this file.
            seed: seed of the motion.
        """
        models = self.models
        plan = models.plan_speech(info.n_samples)
        # An iterator: windows are encoded one at a time.
        features = encode_recording(models.motion_model, models.stream_sound(path), plan, device=models.device)
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

    def _render(
        self,
        portrait: Portrait,
        motion: MotionSequence,
        sound: Path,
        sound_channels: int,
        output: Path,
        seed: int,
        on_progress: Progress | None,
    ) -> tuple[int, int]:
        """Render and encode the video frame by frame; return its width and height."""
        models = self.models
        motion = models.build_controller().shape(motion, seed)
        driver, composer = models.build_driver(portrait, motion), models.build_composer(portrait.picture)

        with VideoWriter(
            output,
            width=composer.width,
            height=composer.height,
            frames_per_second=motion.frames_per_second,
            n_frames=len(motion),
            sound=sound,
            sound_channels=sound_channels,
            config=self.config.encoding,
            metadata={"comment": models.describe_video(seed)},
        ) as writer:
            for start in range(0, len(motion), self.config.batch_frames):
                keypoints = driver.keypoints(motion[start : start + self.config.batch_frames])
                with autocast(models.device, self.config.precision):
                    crops = models.renderer.render(portrait.feature, driver.source_keypoints, keypoints)
                writer.write(composer.frames(crops))

                if on_progress:
                    on_progress("frames", min(start + self.config.batch_frames, len(motion)), len(motion))
        return composer.width, composer.height


def _refuse_overwriting(output: Path, inputs: Sequence[Path]) -> None:
    """Check that the output is none of the inputs, also by a link.

    Raises:
        OutputError: `output_is_input`.
    """
    for path in inputs:
        with contextlib.suppress(OSError, ValueError):  # a missing file is reported by its reader
            if output.samefile(path):
                raise OutputError(
                    "output_is_input", f"{output}: the same file as the input {path}; expected a new file: rename it"
                )
