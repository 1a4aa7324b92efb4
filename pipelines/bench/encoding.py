"""Cost and quality of video encoding by preset and threads; shows how many cores a GPU needs for encoding."""

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
from joyvasa.models import Models
from joyvasa.options import AnimationConfig
from joyvasa.runtime.device import autocast, count_usable_cores
from manifests.scratch import scratch_folder
from pipelines.bench.config import BenchConfig
from pipelines.bench.inputs import make_records, render_inputs

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium")
RATE = 25


@dataclass(frozen=True, kw_only=True)
class EncodingFigure:
    """Figures of one preset of libx264."""

    # preset, threads: options of the encoder
    preset: str
    threads: int
    # width, height: frame size in pixels
    width: int
    height: int
    frames_per_s: float  # rate of one encoder on an otherwise idle machine
    # processor time of all its threads, including color conversion. Multiplied by the frames that a GPU renders per
    # second, it is the number of cores needed for encoding, in thousandths
    processor_ms_per_frame: float
    bytes_per_frame: float  # file size divided by the number of frames
    psnr_db: float  # PSNR of the decoded frames against the rendered ones, over all frames


def measure_encoding(config: BenchConfig) -> tuple[EncodingFigure, ...]:
    """Encode rendered frames with each preset, with one thread and with one thread per core."""
    animation = config.run.animation
    with scratch_folder() as folder:
        frames = _render_frames(animation, config.encoding_frames, folder / "media")
        base = dataclasses.replace(animation.encoding, encoder="x264")
        return tuple(
            _measure_preset(frames, dataclasses.replace(base, preset=preset, threads=threads), folder / "a.mp4")
            for preset in PRESETS
            for threads in sorted({1, count_usable_cores()})
        )


def _render_frames(animation: AnimationConfig, n_frames: int, folder: Path) -> np.ndarray:
    """Return the frames of a video, uint8 (n, height, width, 3)."""
    models = Models(animation)
    portrait_payload, motion_payload = render_inputs(animation, make_records(folder, 1, n_frames / RATE)[0])
    portrait, motion = portrait_payload.to_portrait(models.device), motion_payload.to_motion()
    driver = models.build_driver(portrait, motion)
    composer, keypoints = models.build_composer(portrait.picture), driver.keypoints(motion)

    def batches() -> Iterator[np.ndarray]:
        with autocast(models.device, animation.precision):
            for batch in torch.split(keypoints, models.batch_frames):
                crops = models.renderer.render(portrait.feature, driver.source_keypoints, batch)
                yield composer.frames(crops)

    return np.concatenate(list(batches()))


def _measure_preset(frames: np.ndarray, encoding: EncodingConfig, path: Path) -> EncodingFigure:
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
        psnr_db=_video_psnr(frames, path),
    )


def _video_psnr(frames: np.ndarray, path: Path) -> float:
    """Return the peak signal-to-noise ratio in dB, peak 255, over all frames of a video."""
    squares, start = 0.0, 0
    for decoded in stream_video(path, frames_per_second=RATE):
        original = frames[start : start + len(decoded)].astype(np.float32)
        squares += float(np.square(original - decoded).sum(dtype=np.float64))
        start += len(decoded)
    return float(10 * np.log10(255**2 * frames[:start].size / max(squares, 1.0)))
