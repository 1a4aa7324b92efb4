"""A small data set and a small run for tests."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from joyvasa.config import config_from_dict
from joyvasa.motion.sequence import MotionSequence
from joyvasa.training.clips import ClipRecord, to_pcm16
from joyvasa.training.config import TrainingConfig
from joyvasa.training.dataset import Dataset
from joyvasa.training.dataset_files import DatasetWriter
from manifests.storage import open_storage
from tests.joyvasa.small_generator import SMALL

SIZES = {**SMALL, "n_motions": 10, "n_prev_motions": 4, "decoder_layers": 1}


def small_clip(number: int, *, split: str = "train", n_frames: int = 60) -> ClipRecord:
    """Return a clip with slow waves as motion, and noise that follows them as sound."""
    draw = np.random.default_rng(number)
    time = np.arange(n_frames)[:, None] / 25
    waves = np.sin(2 * np.pi * (draw.uniform(0.5, 2, 70) * time + draw.uniform(0, 1, 70)))
    frames = torch.from_numpy((waves * draw.uniform(0.5, 1, 70)).astype(np.float32))
    loudness = np.repeat(0.5 + 0.4 * waves[:, 0], 640)
    return ClipRecord(
        clip_id=f"clip-{number:03d}",
        source=hashlib.sha256(str(number).encode()).hexdigest(),
        split=split,
        motion=MotionSequence.from_pose(0.01 * frames[:, :63].unflatten(1, (21, 3)), frames[:, 63:]),
        sound=to_pcm16(draw.uniform(-1, 1, n_frames * 640) * loudness),
    )


def small_dataset(folder, *, train: int = 5, validation: int = 2, n_frames: int = 60) -> Dataset:
    writer = DatasetWriter(open_storage(folder))
    clips = [small_clip(number, n_frames=n_frames) for number in range(train)]
    clips += [small_clip(100 + number, split="validation", n_frames=n_frames) for number in range(validation)]
    writer.write_shard(0, clips[::2])
    writer.write_shard(1, clips[1::2])
    writer.finish(extractor={"name": "none", "fingerprint": "none"})
    return Dataset(open_storage(folder))


def small_config(**changes) -> TrainingConfig:
    options = {
        "steps": 6,
        "batch_size": 4,
        "micro_batch_size": 2,
        "device": "cpu",
        "network": SIZES,
        "checkpoints": {"every_steps": 3, "tensorboard": False, "pictures": 0},
    }
    for key, value in changes.items():
        options[key] = options[key] | value if isinstance(value, dict) and key in options else value
    return config_from_dict(TrainingConfig, options)
