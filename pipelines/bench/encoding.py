"""What encoding costs, by preset and threads, and what is left of the picture: how many cores a GPU needs beside it."""

from __future__ import annotations

import dataclasses
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from joyvasa.media.video_reader import stream_video
from joyvasa.media.video_writer import EncodingConfig, VideoWriter
from joyvasa.models import AnimationConfig, Models
from joyvasa.runtime.device import autocast
from pipelines.bench.config import BenchConfig
from pipelines.bench.inputs import make_records, render_inputs
from pipelines.bench.passage import scratch
from pipelines.runs.resources import usable_cores

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium")
RATE = 25


@dataclass(frozen=True, kw_only=True)
class EncodingFigure:
    """One preset of libx264.

    Attributes:
        preset, threads: of the encoder.
        width, height: of the frames, pixels.
        frames_per_s: of one encoder with nothing beside it.
        processor_ms_per_frame: over all its threads, with the conversion of colours. Times the frames that a GPU
            renders in a second it is the cores that encoding needs, in thousandths.
        bytes_per_frame: of the file.
        psnr_db: of the decoded frames against the rendered ones, over all of them.
    """

    preset: str
    threads: int
    width: int
    height: int
    frames_per_s: float
    processor_ms_per_frame: float
    bytes_per_frame: float
    psnr_db: float


def measure_encoding(config: BenchConfig) -> tuple[EncodingFigure, ...]:
    """Rendered frames through each preset, with one thread and with one for each core."""
    animation = config.run.animation
    with scratch() as folder:
        frames = _rendered(animation, config.encoding_frames, folder / "media")
        base = dataclasses.replace(animation.encoding, encoder="x264")
        return tuple(
            _measured(frames, dataclasses.replace(base, preset=preset, threads=threads), folder / "a.mp4")
            for preset in PRESETS
            for threads in sorted({1, usable_cores()})
        )


def _rendered(animation: AnimationConfig, n_frames: int, folder: Path) -> np.ndarray:
    """Frames of a video, uint8 (n, height, width, 3)."""
    models = Models(animation)
    portrait_payload, motion_payload = render_inputs(animation, make_records(folder, 1, n_frames / RATE)[0])
    portrait, motion = portrait_payload.portrait(models.device), motion_payload.motion()
    driver = models.driver(portrait, motion)
    composer, keypoints = models.composer(portrait.picture), driver.keypoints(motion)

    def parts() -> Iterator[np.ndarray]:
        with autocast(models.device, animation.precision):
            for some in torch.split(keypoints, animation.batch_frames):
                crops = models.renderer.render(portrait.feature, driver.source_keypoints, some)
                yield composer.frames(crops)

    return np.concatenate(list(parts()))


def _measured(frames: np.ndarray, encoding: EncodingConfig, path: Path) -> EncodingFigure:
    n_frames, height, width = frames.shape[:3]
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with VideoWriter(
        path, width=width, height=height, frames_per_second=RATE, n_frames=n_frames, config=encoding
    ) as writer:
        for start in range(0, n_frames, 8):
            writer.write(frames[start : start + 8])
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return EncodingFigure(
        preset=encoding.preset,
        threads=encoding.threads,
        width=width,
        height=height,
        frames_per_s=n_frames / seconds,
        processor_ms_per_frame=1000 * processor_s / n_frames,
        bytes_per_frame=path.stat().st_size / n_frames,
        psnr_db=_psnr(frames, path),
    )


def _psnr(frames: np.ndarray, path: Path) -> float:
    """Peak signal-to-noise ratio in dB, peak 255, of all frames together."""
    squares, start = 0.0, 0
    for decoded in stream_video(path, frames_per_second=RATE):
        given = frames[start : start + len(decoded)].astype(np.float32)
        squares += float(np.square(given - decoded).sum(dtype=np.float64))
        start += len(decoded)
    return float(10 * np.log10(255**2 * frames[:start].size / max(squares, 1.0)))
