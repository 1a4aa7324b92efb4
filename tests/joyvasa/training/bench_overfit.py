"""Overfitting of a small generator to a few clips.

Uses the data set in `JOYVASA_DATASET`, by default the motion of the sample media with synthetic sound: tones whose
loudness follows the motion. Prints the decrease of the loss and the correlation of motion and sound.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from joyvasa.config import config_from_dict
from joyvasa.motion.file import load_motion
from joyvasa.training.clips import ClipRecord, to_pcm16
from joyvasa.training.config import TrainingConfig
from joyvasa.training.dataset import Dataset
from joyvasa.training.dataset_files import DatasetWriter
from joyvasa.training.generation import compute_motion_correlation, generate_motion
from joyvasa.training.trainer import Trainer
from manifests.storage import open_storage
from tests.media import MEDIA

LIMIT_S = 20 * 60
N_TONES, CHUNK_S = 24, 12
SIZES = {
    "motion_feat_dim": 70,
    "n_prev_motions": 25,
    "feature_dim": 128,
    "decoder_layers": 4,
    "decoder_heads": 4,
    "decoder_hidden": 256,
    "dropout": 0.0,
    "audio_encoder": {
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 256,
        "conv_dim": [64] * 7,
        "num_conv_pos_embeddings": 32,
        "num_conv_pos_embedding_groups": 8,
    },
}


def synthesize_sound(motion, seed: int) -> np.ndarray:
    """Return a sound that determines the motion."""
    draw = np.random.default_rng(0)  # the same meaning of the tones in every clip
    frames = torch.cat([motion.expression.flatten(1), motion.pose], dim=1).double().numpy()
    frames = (frames - frames.mean(axis=0)) / (frames.std(axis=0) + 1e-6)
    loudness = 1 / (1 + np.exp(-frames @ draw.normal(0, 0.3, (frames.shape[1], N_TONES))))
    time_s = np.arange(len(frames) * 640) / 16_000
    at = np.linspace(0, len(frames) - 1, len(time_s))
    wave = np.random.default_rng(seed).normal(0, 0.002, len(time_s))
    for number, frequency in enumerate(np.geomspace(150, 3500, N_TONES)):
        wave += np.interp(at, np.arange(len(frames)), loudness[:, number]) * np.sin(2 * np.pi * frequency * time_s)
    return to_pcm16(wave / N_TONES)


def build_dataset(folder: Path) -> Dataset:
    writer = DatasetWriter(open_storage(folder))
    clips = []
    for path in sorted((MEDIA / "motion").glob("*.npz")):
        motion = load_motion(path).motion
        motion = type(motion).from_pose(motion.expression, motion.pose, 25.0)
        for start in range(0, max(1, len(motion) - 100), CHUNK_S * 25):
            part = motion[slice(start, start + CHUNK_S * 25)]
            clips.append(
                ClipRecord(
                    clip_id=f"{path.stem}-{start}",
                    source=hashlib.sha256(path.stem.encode()).hexdigest(),
                    split="train",
                    motion=part,
                    sound=synthesize_sound(part, len(clips)),
                )
            )
    writer.write_shard(0, clips)
    writer.finish(extractor={"name": "sample media", "fingerprint": "none"})
    return Dataset(open_storage(folder))


@pytest.mark.bench
def test_training_learns(tmp_path):
    path = os.environ.get("JOYVASA_DATASET")
    dataset = Dataset(open_storage(path)) if path else build_dataset(tmp_path / "set")
    steps = int(os.environ.get("JOYVASA_OVERFIT_STEPS", "3000"))
    config = config_from_dict(
        TrainingConfig,
        {
            "steps": steps,
            "batch_size": 4,
            "device": "cpu",
            "network": SIZES,
            "samples": {"truncation": [0, 0]},
            "optimizer": {"learning_rate": 1e-3, "schedule": "cosine", "warmup_steps": 50, "ema_decay": 0.99},
            "checkpoints": {"every_steps": max(1, steps // 6), "pictures": 2, "tensorboard": False},
        },
    )
    started = time.monotonic()
    trainer = Trainer(
        config,
        dataset,
        open_storage(tmp_path / "run"),
        stop=lambda: time.monotonic() - started > LIMIT_S - 60,
        on_step=lambda step, values: step % 100 or print(f"step {step}: loss {values['loss']:.4f}", flush=True),
    )
    fixed = trainer.fixed_stream("train", 64)
    before = trainer.evaluate(fixed)
    result = trainer.run()
    after = trainer.evaluate(fixed)
    elapsed = time.monotonic() - started
    print(f"{len(fixed.locations)} clips, {dataset.card.hours * 3600:.0f} s; {result.step} steps in {elapsed:.0f} s")
    print(f"{result.step_s:.3f} s per step, {result.compute_share:.1%} of it compute")
    print(f"loss {before['loss']:.4f} to {after['loss']:.4f}: {before['loss'] / after['loss']:.1f} times less")

    own, shuffled = [], []
    clips = [fixed.read_clip(number) for number in range(len(fixed.locations))]
    with trainer.evaluation_mode():
        for number, clip in enumerate(clips):
            other = clips[(number + len(clips) // 2) % len(clips)].waveform()
            motion = generate_motion(trainer.network, clip, trainer.template, seed=1)
            own.append(compute_motion_correlation(motion, trainer.template))
            motion = generate_motion(trainer.network, clip, trainer.template, seed=1, sound=other)
            shuffled.append(compute_motion_correlation(motion, trainer.template))
    print(
        f"correlation with the true motion: {np.mean(own):.3f}; for the sound of another clip: {np.mean(shuffled):.3f}"
    )
    print(f"pictures: {tmp_path / 'run/pictures'}")
    assert result.compute_share >= 0.95
    assert after["loss"] <= before["loss"] / 10
    assert np.mean(own) > 0.5
    assert abs(np.mean(shuffled)) < 0.2
