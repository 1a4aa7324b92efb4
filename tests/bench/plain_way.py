"""The plain way from a pair to a video: one pair at a time, batch 1, eager, float32, one frame after the other."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import IO, cast

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from joyvasa.faces.paste import mask_template
from joyvasa.media.audio import probe_audio
from joyvasa.media.ffmpeg import ffmpeg_executable
from joyvasa.models import AnimationConfig, Models, role_of
from joyvasa.motion.sampling import speech_windows
from joyvasa.motion.sequence import MotionSequence
from joyvasa.rendering.portrait import Picture, Portrait
from joyvasa.rendering.renderer import to_uint8
from tests.bench.plain_motion import PlainSampler


class PlainModels(Models):
    """Models whose networks are as the papers draw them."""

    def network(self, role: str) -> nn.Module:
        """Load the network of a role and do not accelerate it."""
        kept = role_of(self.config.mode, role)
        if kept not in self._networks:
            self._networks[kept] = self.bundle.network(kept, self.device)
        return self._networks[kept]


class PlainWay:
    """What every gain is compared with. Its networks are loaded once; only the work on a pair counts.

    Args:
        config: every option; the precision is float32 in any case.
    """

    def __init__(self, config: AnimationConfig) -> None:
        self.models = PlainModels(replace(config, precision="fp32"))
        self._warping = self.models.network("warping_module")
        self._generator = self.models.network("spade_generator")
        self.sampler = PlainSampler(self.models)

    def animate(self, image: Path, audio: Path, output: Path, seed: int) -> int:
        """Makes one video; gives its number of frames."""
        models = self.models
        info = probe_audio(audio)
        plan = models.plan_speech(info.n_samples)
        portrait = models.encoder.encode([models.read_picture(image)])[0]
        features = [*speech_windows(models.motion_model, models.sound(audio), plan, device=models.device)]
        self.render(portrait, self.sampler.sample(plan, features, seed), audio, output)
        return plan.n_frames

    @torch.inference_mode()
    def render(self, portrait: Portrait, motion: MotionSequence, sound: Path | None, output: Path) -> None:
        """Renders, fetches, pastes and hands over one frame after the other to the encoder."""
        driver = self.models.driver(portrait, motion)
        picture = portrait.picture
        paste = _Paste(picture, self.models.bundle.switches.output_size)
        process = _encoder(self.models.config, paste.size, motion.frames_per_second, sound, output)
        sink = cast("IO[bytes]", process.stdin)
        with sink:
            for number in range(len(motion)):
                crop = self.frame(
                    portrait.feature, driver.source_keypoints, driver.keypoints(motion[number : number + 1])
                )
                sink.write(paste(crop[0].cpu().numpy()).tobytes())
                sink.flush()
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode, process.args)

    def frame(self, feature: Tensor, source_keypoints: Tensor, keypoints: Tensor) -> Tensor:
        """One frame: uint8 (1, side, side, 3), on the device."""
        warped = self._warping(feature, source_keypoints, keypoints)["out"]
        return to_uint8(self._generator(warped))


class _Paste:
    """The whole crop warped into the whole picture, blended in float."""

    def __init__(self, picture: Picture, side: int) -> None:
        self._picture, self._crop = picture.image, picture.crop
        height, width = picture.image.shape[:2]
        self.size = (width, height)
        if self._crop is not None:
            ratio = len(self._crop.image) / side
            to_crop = np.array([[ratio, 0, (ratio - 1) / 2], [0, ratio, (ratio - 1) / 2], [0, 0, 1]])
            self._matrix = (self._crop.to_original @ to_crop)[:2]
            mask = cv2.warpAffine(mask_template(len(self._crop.image)), self._crop.to_original[:2], self.size)
            self._mask = mask[..., None].astype(np.float32) / 255

    def __call__(self, crop: np.ndarray) -> np.ndarray:
        if self._crop is None:
            return cv2.resize(crop, self.size)
        warped = cv2.warpAffine(crop, self._matrix, self.size)
        return np.clip(self._mask * warped + (1 - self._mask) * self._picture, 0, 255).astype(np.uint8)


def _encoder(
    config: AnimationConfig, size: tuple[int, int], frames_per_second: float, sound: Path | None, output: Path
) -> subprocess.Popen[bytes]:
    """Ffmpeg with the same quality as a run."""
    width, height = size
    command = [ffmpeg_executable(), "-nostdin", "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{width}x{height}", "-r", str(frames_per_second), "-i", "pipe:0"]
    command += ["-i", str(sound), "-c:a", "aac", "-shortest"] if sound else []
    command += ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", str(config.encoding.crf)]
    command += ["-preset", config.encoding.preset, str(output)]
    return subprocess.Popen(command, stdin=subprocess.PIPE)
