"""Baseline of the speed measurements: one pair at a time, batch size 1, eager, float32, one frame after the other."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import IO, cast

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from joyvasa.bundles.requirements import resolve_role
from joyvasa.faces.paster import create_blend_mask
from joyvasa.media.audio import probe_audio
from joyvasa.media.ffmpeg import ffmpeg_executable
from joyvasa.models import Models
from joyvasa.motion.sampling import encode_windows
from joyvasa.motion.sequence import MotionSequence
from joyvasa.motion.windows import iterate_windows
from joyvasa.networks.pictures import to_uint8
from joyvasa.options import AnimationConfig
from joyvasa.rendering.portrait import Picture, Portrait
from tests.bench.baseline_sampler import BaselineSampler


class BaselineModels(Models):
    """Models with plain networks, as in the papers."""

    def network(self, role: str) -> nn.Module:
        """Return the network of a role without acceleration."""
        resolved = resolve_role(self.config.mode, role)
        if resolved not in self._networks:
            self._networks[resolved] = self.bundle.load_network(resolved, self.device)
        return self._networks[resolved]


class Baseline:
    """Baseline with networks that are loaded once and are not part of the measured time.

    Args:
        config: all options; the precision is always float32.
    """

    def __init__(self, config: AnimationConfig) -> None:
        self.models = BaselineModels(replace(config, precision="fp32"))
        self._warping = self.models.network("warping_module")
        self._generator = self.models.network("spade_generator")
        self.sampler = BaselineSampler(self.models)

    def animate(self, image: Path, audio: Path, output: Path, seed: int) -> None:
        """Generate one video."""
        models = self.models
        plan = models.plan_speech(probe_audio(audio).n_samples)
        portrait = models.encoder.encode([models.read_picture(image)])[0]
        features = [
            *encode_windows(
                models.motion_model, iterate_windows(models.stream_sound(audio), plan), device=models.device
            )
        ]
        self.render(portrait, self.sampler.sample(plan, features, seed), audio, output)

    @torch.inference_mode()
    def render(self, portrait: Portrait, motion: MotionSequence, sound: Path | None, output: Path) -> None:
        """Render, fetch, paste and encode one frame after the other."""
        driver = self.models.build_driver(portrait, motion)
        picture = portrait.picture
        paste = _Paste(picture, self.models.bundle.switches.output_size)
        process = _start_encoder(self.models.config, paste.size, motion.frames_per_second, sound, output)
        sink = cast("IO[bytes]", process.stdin)
        with sink:
            for number in range(len(motion)):
                keypoints = driver.keypoints(motion[number : number + 1])
                crop = self.render_frame(portrait.feature, driver.source_keypoints, keypoints)
                sink.write(paste(crop[0].cpu().numpy()).tobytes())
                sink.flush()
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode, process.args)

    def render_frame(self, feature: Tensor, source_keypoints: Tensor, keypoints: Tensor) -> Tensor:
        """Return one frame, uint8 (1, side, side, 3), on the device."""
        warped = self._warping(feature, source_keypoints, keypoints)["out"]
        return to_uint8(self._generator(warped))


class _Paste:
    """Warp the whole crop into the whole picture and blend in float32."""

    def __init__(self, picture: Picture, side: int) -> None:
        self._picture, self._crop = picture.image, picture.crop
        height, width = picture.image.shape[:2]
        self.size = (width, height)
        if self._crop is not None:
            ratio = len(self._crop.image) / side
            to_crop = np.array([[ratio, 0, (ratio - 1) / 2], [0, ratio, (ratio - 1) / 2], [0, 0, 1]])
            self._matrix = (self._crop.to_original @ to_crop)[:2]
            mask = cv2.warpAffine(create_blend_mask(len(self._crop.image)), self._crop.to_original[:2], self.size)
            self._mask = mask[..., None].astype(np.float32) / 255

    def __call__(self, crop: np.ndarray) -> np.ndarray:
        if self._crop is None:
            return cv2.resize(crop, self.size)
        warped = cv2.warpAffine(crop, self._matrix, self.size)
        return np.clip(self._mask * warped + (1 - self._mask) * self._picture, 0, 255).astype(np.uint8)


def _start_encoder(
    config: AnimationConfig, size: tuple[int, int], frames_per_second: float, sound: Path | None, output: Path
) -> subprocess.Popen[bytes]:
    """Start ffmpeg with the quality options of a run."""
    width, height = size
    command = [ffmpeg_executable(), "-nostdin", "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{width}x{height}", "-r", str(frames_per_second), "-i", "pipe:0"]
    command += ["-i", str(sound), "-c:a", "aac", "-shortest"] if sound else []
    command += ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", str(config.encoding.crf)]
    command += ["-preset", config.encoding.preset, str(output)]
    return subprocess.Popen(command, stdin=subprocess.PIPE)
