"""Synthetic speech with motion, the training data of the sample bundle's motion generator."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import soxr
import torch

from joyvasa.media.audio import SAMPLE_RATE
from joyvasa.motion.sequence import POSE_LAYOUT, MotionSequence
from joyvasa.sample.training.head import PIVOT, Expression, Head, Pose
from joyvasa.sample.training.head_motion import draw_head_motion
from joyvasa.sample.training.training_media import EYES_APART, EYES_AT, SIZE
from joyvasa.sample.training.visemes import PARTS, RATE, TimedViseme, mouth_curves
from joyvasa.sample.training.voices import Espeak, Flite, Utterance
from joyvasa.training.clips import ClipRecord, assign_split, to_pcm16
from joyvasa.training.dataset_files import TEMPLATE, DatasetCard, DatasetWriter
from joyvasa.training.file_store import FileStore

CLIP_S = 30.0
PAUSES = ((0.5, (0.1, 1.2)), (0.08, (2.0, 6.0)))  # before a sentence: probability, and range of lengths in seconds
ONSETS = [*"bdfghklmnprstvwzbmpfv", "sh", "ch", "th", "br", "pl", "st"]
VOWELS = ["a", "e", "i", "o", "u", "ai", "oo", "ee", "ou"]
CODAS = ["", "", "n", "m", "s", "p", "t", "b"]
LIDS_DRIVEN = 1.3  # closure of shut lids: above 1, because the renderer closes them a little less than driven
SCALE = 2 * EYES_APART  # scale of a head in a crop that spans -1 to 1


class FaceBasis:
    """Linear motion of the keypoints of the mean head with each part of an expression.

    Args:
        mean: mean head, see `mean_head`.

    Attributes:
        neutral: keypoints of a closed mouth, (21, 3), origin at the neck.
        parts: motion of the keypoints by part, (21, 3) each.
    """

    def __init__(self, mean: np.ndarray) -> None:
        head = Head(mean, mean, SIZE)
        identity = Pose(1.0, np.eye(3), np.zeros(3))

        def keypoints(**parts: Any) -> np.ndarray:
            expression = Expression(**parts)
            return head.keypoints(head.apply_expression(expression), expression.blink, identity)

        closed = keypoints()
        self.neutral = closed - np.array([*PIVOT[:2], 0.0])
        amounts = {**dict.fromkeys(PARTS, 1.0), "blink": (LIDS_DRIVEN, LIDS_DRIVEN), "brow": (1.0, 1.0)}
        # Rounded to make static keypoints exactly static: training would scale up any tiny deviation.
        self.parts = {part: (keypoints(**{part: amount}) - closed).round(4) for part, amount in amounts.items()}


class Corpus:
    """Generator of clips of synthetic speakers.

    Raises:
        EnvironmentFault: `program_missing`.
    """

    def __init__(self, basis: FaceBasis, *, seed: int) -> None:
        self._basis, self._seed = basis, seed
        self._r = np.random.default_rng(seed)
        self._voices = (Flite(), Espeak())
        self._words = _words()

    def clips(self, count: int) -> Iterator[ClipRecord]:
        """Yield clips of half a minute."""
        for number in range(count):
            sound, visemes = self._draw_speech()
            motion = self._draw_motion(sound, visemes)
            name = f"speech-{self._seed}-{number:06d}"
            source = hashlib.sha256(name.encode()).hexdigest()
            samples = to_pcm16(self._simulate_recording(sound))
            yield ClipRecord(clip_id=name, source=source, split=assign_split(source), motion=motion, sound=samples)

    def _draw_speech(self) -> tuple[np.ndarray, list[TimedViseme]]:
        r, blocks, visemes, at_s = self._r, [], [], 0.0
        while at_s < CLIP_S:
            pause_s = sum(r.uniform(*length) for share, length in PAUSES if r.random() < share)
            if pause_s:
                visemes.append(TimedViseme("silence", at_s, at_s + pause_s))
                blocks.append(np.zeros(int(pause_s * SAMPLE_RATE), np.float32))
                at_s += len(blocks[-1]) / SAMPLE_RATE

            speech: Utterance = self._voices[r.integers(2)].synthesize(self._draw_text(), r)
            speed = np.exp(r.normal(0, 0.08))  # changes speed and pitch together, for more varied voices
            samples = soxr.resample(speech.samples, speech.rate * speed, SAMPLE_RATE).astype(np.float32)
            if not len(samples):
                continue
            blocks.append(samples / (np.abs(samples).max() + 1e-6) * np.float32(r.uniform(0.3, 0.9)))
            visemes += [TimedViseme(s.shape, at_s + s.start_s / speed, at_s + s.end_s / speed) for s in speech.sounds]
            at_s += len(samples) / SAMPLE_RATE
        sound = np.concatenate(blocks)[: int(CLIP_S * SAMPLE_RATE)]
        return sound, [viseme for viseme in visemes if viseme.start_s < CLIP_S]

    def _draw_text(self) -> str:
        r = self._r
        if r.random() < 0.6:
            return " ".join(r.choice(self._words, r.integers(3, 14)))
        syllables = [[f"{r.choice(ONSETS)}{r.choice(VOWELS)}" for _ in range(r.integers(1, 4))] for _ in range(8)]
        return " ".join("".join(word) + str(r.choice(CODAS)) for word in syllables[: r.integers(3, 9)])

    def _draw_motion(self, sound: np.ndarray, visemes: list[TimedViseme]) -> MotionSequence:
        mouth = mouth_curves(sound, visemes)  # (T, 5)
        level = np.sqrt((sound[: len(mouth) * SAMPLE_RATE // RATE].reshape(len(mouth), -1) ** 2).mean(1))
        head = draw_head_motion(level / (np.percentile(level, 95) + 1e-6), self._r)
        amounts = {**dict(zip(PARTS, mouth.T, strict=True)), "blink": head.blink, "brow": head.brow}
        expression = sum(amount[:, None, None] * self._basis.parts[part] for part, amount in amounts.items())
        scale = SCALE * np.exp(head.growth)
        neck = 2 * np.array(EYES_AT) - 1 + SCALE * PIVOT[:2]
        shift = np.column_stack([neck + head.shift, np.zeros(len(mouth))])

        def tensor(values: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).float()

        angles = {name: tensor(head.pose[:, i : i + 1]) for i, name in enumerate(("pitch", "yaw", "roll"))}
        return MotionSequence(
            expression=tensor(np.asarray(expression)),
            scale=tensor(scale[:, None]),
            translation=tensor(shift),
            **angles,
            frames_per_second=float(RATE),
        )

    def _simulate_recording(self, sound: np.ndarray) -> np.ndarray:
        """Simulate a recording: random equalizer, echo, noise and level."""
        r, n = self._r, len(sound)
        if r.random() < 0.6:  # equalizer
            spectrum = np.fft.rfft(sound)
            knots = np.sort(np.concatenate([[0], r.random(5), [1]]))
            decibels = np.interp(np.linspace(0, 1, len(spectrum)), knots, r.normal(0, 5, 7))
            sound = np.fft.irfft(spectrum * 10 ** (decibels / 20), n)

        if r.random() < 0.4:  # echo
            echo = np.exp(-np.arange(4000) / (SAMPLE_RATE * r.uniform(0.02, 0.08))) * r.normal(0, 1, 4000)
            echo *= r.uniform(0.05, 0.3) / np.sqrt((echo**2).sum())
            echo[0] = 1
            sound = np.fft.irfft(np.fft.rfft(sound, n + 4000) * np.fft.rfft(echo, n + 4000), n + 4000)[:n]

        if r.random() < 0.7:  # white or pink noise
            noise = r.normal(0, 1, n)
            if r.random() < 0.6:
                spectrum = np.fft.rfft(noise)
                noise = np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 20.0), n)
            sound = sound + noise / noise.std() * 10 ** (r.uniform(-60, -28) / 20)
        return (sound * 10 ** (r.uniform(-14, 3) / 20)).clip(-1, 1)


def _words() -> np.ndarray:
    """Return English words from docstrings of the standard library, a text that exists on every machine."""
    import argparse
    import collections
    import decimal
    import email.message
    import logging
    import unittest

    modules = (argparse, collections, decimal, email.message, logging, unittest, re)
    texts = [getattr(getattr(module, name), "__doc__", None) or "" for module in modules for name in dir(module)]
    return np.array(sorted(set(re.findall(r"\b[a-z]{2,10}\b", " ".join(map(str, texts)).lower()))))


SHARD_CLIPS = 20


def write_speech_dataset(files: FileStore, mean: np.ndarray, *, hours: float, seed: int = 0) -> DatasetCard:
    """Write the data set; existing shards are not written again.

    Args:
        files: folder of the data set.
        mean: mean head, see `mean_head`.
        hours: hours of speech, rounded up to whole shards of ten minutes.
        seed: seed of the speakers.

    Raises:
        EnvironmentFault: `program_missing`.
    """
    writer = DatasetWriter(files)
    basis = FaceBasis(mean)
    for shard in range(int(np.ceil(hours * 3600 / CLIP_S / SHARD_CLIPS))):
        if not writer.has_shard(shard):
            writer.write_shard(shard, Corpus(basis, seed=seed + shard).clips(SHARD_CLIPS))
    card = writer.finish(extractor={"name": "synthetic speakers", "fingerprint": ""}, about={"seed": seed})
    _scale_poses(files)
    return card


def _scale_poses(files: FileStore) -> None:
    """Replace the range of poses in the template, so that normalized poses have a standard deviation of 1.

    The motion generator normalizes expressions by their deviation and poses by their range. Poses that vary by only
    0.1 drown in the diffusion noise until the last steps, and a small network learns to leave the head still.
    """
    from safetensors.numpy import load, save

    arrays = load(files.read(TEMPLATE))
    for name in POSE_LAYOUT:
        arrays[f"min_{name}"] = arrays[f"mean_{name}"]
        arrays[f"max_{name}"] = arrays[f"mean_{name}"] + arrays[f"std_{name}"]
    files.write(TEMPLATE, save(arrays))
