"""Speech with known motion, without end: what the motion generator of the sample bundle learns from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import soxr
import torch

from joyvasa.media.audio import SAMPLE_RATE
from joyvasa.motion.sequence import MotionSequence
from joyvasa.sample.training.head import PIVOT, Expression, Head, Pose
from joyvasa.sample.training.pictures import EYES_APART, EYES_AT, SIZE
from joyvasa.sample.training.talker import sway
from joyvasa.sample.training.visemes import PARTS, RATE, Sound, mouth
from joyvasa.sample.training.voices import Espeak, Flite, Utterance
from joyvasa.training.clips import ClipRecord, split_of

CLIP_S = 30.0
PAUSES = ((0.5, (0.1, 1.2)), (0.08, (2.0, 6.0)))  # before a sentence: how often, and how long, seconds
ONSETS = [*"bdfghklmnprstvwzbmpfv", "sh", "ch", "th", "br", "pl", "st"]
VOWELS = ["a", "e", "i", "o", "u", "ai", "oo", "ee", "ou"]
CODAS = ["", "", "n", "m", "s", "p", "t", "b"]
LIDS_DRIVEN = 1.3  # of the way to where lids meet: the renderer falls a little short of what it is told
SCALE = 2 * EYES_APART  # of a head in a crop that spans -1 to 1


class FaceBasis:
    """How keypoints move with each part of an expression, on a mean head; every part of it is linear.

    Args:
        mean: of `mean_head`.
    """

    def __init__(self, mean: np.ndarray) -> None:
        head = Head(mean, mean, SIZE)
        own = Pose(1.0, np.eye(3), np.zeros(3))

        def keypoints(**parts: Any) -> np.ndarray:
            expression = Expression(**parts)
            return head.keypoints(head.making(expression), expression.blink, own)

        closed = keypoints()
        self.neutral = closed - np.array([*PIVOT[:2], 0.0])  # (21, 3), origin at the neck
        whole = {**dict.fromkeys(PARTS, 1.0), "blink": (LIDS_DRIVEN, LIDS_DRIVEN), "brow": (1.0, 1.0)}
        # (21, 3) each. Rounded: what stands still does so exactly, and has no deviation that training would scale up.
        self.parts = {part: (keypoints(**{part: amount}) - closed).round(4) for part, amount in whole.items()}


class Corpus:
    """Clips of synthetic speakers.

    Args:
        basis: of the face.
        seed: of everything that is drawn.

    Raises:
        EnvironmentFault: `program_missing`.
    """

    def __init__(self, basis: FaceBasis, *, seed: int) -> None:
        self._basis, self._seed = basis, seed
        self._r = np.random.default_rng(seed)
        self._voices = (Flite(), Espeak())
        self._words = _words()

    def clips(self, count: int) -> Iterator[ClipRecord]:
        """Clips of half a minute."""
        for number in range(count):
            sound, sounds = self._speech()
            motion = self._motion(sound, sounds)
            name = f"speech-{self._seed}-{number:06d}"
            source = hashlib.sha256(name.encode()).hexdigest()
            samples = np.round(self._recorded(sound) * 32767).astype(np.int16)
            yield ClipRecord(clip_id=name, source=source, split=split_of(source), motion=motion, sound=samples)

    def _speech(self) -> tuple[np.ndarray, list[Sound]]:
        r, blocks, sounds, at_s = self._r, [], [], 0.0
        while at_s < CLIP_S:
            pause_s = sum(r.uniform(*length) for share, length in PAUSES if r.random() < share)
            if pause_s:
                sounds.append(Sound("silence", at_s, at_s + pause_s))
                blocks.append(np.zeros(int(pause_s * SAMPLE_RATE), np.float32))
                at_s += len(blocks[-1]) / SAMPLE_RATE
            said: Utterance = self._voices[r.integers(2)].say(self._text(), r)
            speed = np.exp(r.normal(0, 0.08))  # faster and higher, or slower and lower: other throats
            samples = soxr.resample(said.samples, said.rate * speed, SAMPLE_RATE).astype(np.float32)
            if not len(samples):
                continue
            blocks.append(samples / (np.abs(samples).max() + 1e-6) * np.float32(r.uniform(0.3, 0.9)))
            sounds += [Sound(s.shape, at_s + s.start_s / speed, at_s + s.end_s / speed) for s in said.sounds]
            at_s += len(samples) / SAMPLE_RATE
        whole = np.concatenate(blocks)[: int(CLIP_S * SAMPLE_RATE)]
        return whole, [sound for sound in sounds if sound.start_s < CLIP_S]

    def _text(self) -> str:
        r = self._r
        if r.random() < 0.6:
            return " ".join(r.choice(self._words, r.integers(3, 14)))
        syllables = [[f"{r.choice(ONSETS)}{r.choice(VOWELS)}" for _ in range(r.integers(1, 4))] for _ in range(8)]
        return " ".join("".join(word) + str(r.choice(CODAS)) for word in syllables[: r.integers(3, 9)])

    def _motion(self, sound: np.ndarray, sounds: list[Sound]) -> MotionSequence:
        shapes = mouth(sound, sounds)  # (T, 5)
        frames = np.sqrt((sound[: len(shapes) * SAMPLE_RATE // RATE].reshape(len(shapes), -1) ** 2).mean(1))
        swaying = sway(frames / (np.percentile(frames, 95) + 1e-6), self._r)
        amounts = {**dict(zip(PARTS, shapes.T, strict=True)), "blink": swaying.blink, "brow": swaying.brow}
        expression = sum(amount[:, None, None] * self._basis.parts[part] for part, amount in amounts.items())
        scale = SCALE * np.exp(swaying.growth)
        neck = 2 * np.array(EYES_AT) - 1 + SCALE * PIVOT[:2]
        shift = np.column_stack([neck + swaying.shift, np.zeros(len(shapes))])

        def tensor(values: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).float()

        angles = {name: tensor(swaying.pose[:, i : i + 1]) for i, name in enumerate(("pitch", "yaw", "roll"))}
        return MotionSequence(
            expression=tensor(np.asarray(expression)),
            scale=tensor(scale[:, None]),
            translation=tensor(shift),
            **angles,
            frames_per_second=float(RATE),
        )

    def _recorded(self, sound: np.ndarray) -> np.ndarray:
        """As a microphone in a room gives it: equaliser, echo, noise, level."""
        r, n = self._r, len(sound)
        if r.random() < 0.6:
            spectrum = np.fft.rfft(sound)
            knots = np.sort(np.concatenate([[0], r.random(5), [1]]))
            decibels = np.interp(np.linspace(0, 1, len(spectrum)), knots, r.normal(0, 5, 7))
            sound = np.fft.irfft(spectrum * 10 ** (decibels / 20), n)
        if r.random() < 0.4:
            echo = np.exp(-np.arange(4000) / (SAMPLE_RATE * r.uniform(0.02, 0.08))) * r.normal(0, 1, 4000)
            echo *= r.uniform(0.05, 0.3) / np.sqrt((echo**2).sum())
            echo[0] = 1
            sound = np.fft.irfft(np.fft.rfft(sound, n + 4000) * np.fft.rfft(echo, n + 4000), n + 4000)[:n]
        if r.random() < 0.7:
            noise = r.normal(0, 1, n)
            if r.random() < 0.6:
                spectrum = np.fft.rfft(noise)
                noise = np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 20.0), n)
            sound = sound + noise / noise.std() * 10 ** (r.uniform(-60, -28) / 20)
        return (sound * 10 ** (r.uniform(-14, 3) / 20)).clip(-1, 1)


def _words() -> np.ndarray:
    """English words, from what the standard library says of itself: a text that every machine has."""
    import argparse
    import collections
    import decimal
    import email.message
    import logging
    import unittest

    modules = (argparse, collections, decimal, email.message, logging, unittest, re)
    texts = [getattr(getattr(module, name), "__doc__", None) or "" for module in modules for name in dir(module)]
    return np.array(sorted(set(re.findall(r"\b[a-z]{2,10}\b", " ".join(map(str, texts)).lower()))))
