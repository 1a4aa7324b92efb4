"""Speech synthesizers that report the times of phonemes: flite and espeak-ng."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from joyvasa.errors import EnvironmentFault
from joyvasa.sample.training.visemes import TimedViseme, load_visemes, split_evenly

FLITE_VOICES = ("kal16", "awb", "rms", "slt")
ESPEAK_LANGUAGES = (
    "en", "en-us", "en-gb-scotland", "de", "fr-fr", "es", "it", "pt-br", "nl", "sv", "pl", "tr", "ru", "hi", "id",
    "fi", "ro", "cmn", "ja", "ko", "vi", "ar", "sw",
)  # fmt: skip
ESPEAK_VARIANTS = ("", "+m1", "+m2", "+m3", "+m4", "+m7", "+f1", "+f2", "+f3", "+f4", "+f5", "+klatt", "+croak")
_PHONEME_EVENT, _SYNCHRONOUS, _EVENTS_IN_IPA, _UTF8 = 7, 2, 3, 1
_RATE, _PITCH, _RANGE = 1, 3, 4  # parameters of espeak-ng


@dataclass(frozen=True)
class Utterance:
    """Synthesized speech."""

    samples: np.ndarray  # float32 (n,)
    rate: int  # samples per second
    sounds: list[TimedViseme]  # speech sounds with their times


class Flite:
    """The program flite.

    Raises:
        EnvironmentFault: `program_missing`.
    """

    def __init__(self) -> None:
        if not shutil.which("flite"):
            raise EnvironmentFault("program_missing", "no flite on PATH: run `apt-get install flite`")

    def synthesize(self, text: str, r: np.random.Generator) -> Utterance:
        """Synthesize a text with a random voice."""
        with tempfile.TemporaryDirectory(prefix="joyvasa-flite-") as folder:
            file = Path(folder, "speech.wav")
            settings = {
                "duration_stretch": f"{r.uniform(0.75, 1.35):.2f}",
                "int_f0_target_mean": f"{r.uniform(80, 230):.0f}",
            }
            options = [part for name, value in settings.items() for part in ("--setf", f"{name}={value}")]
            command = ["flite", "-voice", str(r.choice(FLITE_VOICES)), "-psdur", *options, "-t", text, "-o", str(file)]
            durations = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            with wave.open(str(file)) as sound:
                samples = np.frombuffer(sound.readframes(sound.getnframes()), np.int16).astype(np.float32) / 32768
                rate = sound.getframerate()

        sounds: list[TimedViseme] = []
        start_s = 0.0
        for entry in durations.split():  # phoneme and end in seconds, `ae:0.742`
            name, _, end = entry.rpartition(":")
            sounds += split_evenly(load_visemes().cmu.get(name, ["schwa"]), start_s, float(end))
            start_s = float(end)
        return Utterance(samples, rate, sounds)


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    """`espeak_EVENT` of speak_lib.h."""

    _fields_ = [
        ("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position_ms", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("id", _Id),
    ]  # fmt: skip


class Espeak:
    """The library espeak-ng; only one instance per process.

    Raises:
        EnvironmentFault: `program_missing`.
    """

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libespeak-ng.so.1")
        except OSError:
            raise EnvironmentFault("program_missing", "no libespeak-ng: run `apt-get install espeak-ng`") from None
        self._rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, None, _EVENTS_IN_IPA)
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
        self._callback = kind(self._on_samples)  # must stay alive as long as this object
        self._library.espeak_SetSynthCallback(self._callback)
        self._blocks: list[np.ndarray] = []
        self._phonemes: list[tuple[float, str]] = []

    def synthesize(self, text: str, r: np.random.Generator) -> Utterance:
        """Synthesize a text with a random voice of a random language."""
        self._blocks, self._phonemes = [], []
        voice = f"{r.choice(ESPEAK_LANGUAGES)}{r.choice(ESPEAK_VARIANTS)}"
        self._library.espeak_SetVoiceByName(voice.encode())
        for parameter, low, high in ((_RATE, 120, 230), (_PITCH, 20, 80), (_RANGE, 20, 80)):
            self._library.espeak_SetParameter(parameter, int(r.integers(low, high)), 0)

        content = text.encode()
        self._library.espeak_Synth(content, len(content) + 1, 0, 0, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()

        samples = np.concatenate([*self._blocks, np.zeros(0, np.int16)]).astype(np.float32) / 32768
        ends = [start for start, _ in self._phonemes[1:]] + [len(samples) / self._rate]
        sounds: list[TimedViseme] = []
        for (start_s, name), end_s in zip(self._phonemes, ends, strict=True):
            if end_s > start_s and not name.startswith("("):  # "(en)" marks a change of language
                shapes = [load_visemes().ipa[letter] for letter in name if letter in load_visemes().ipa]
                sounds += split_evenly(shapes or ["silence"], start_s, end_s)
        return Utterance(samples, self._rate, sounds)

    def _on_samples(self, samples: Any, n_samples: int, events: Any) -> int:
        if n_samples > 0:
            self._blocks.append(np.ctypeslib.as_array(samples, (n_samples,)).copy())
        number = 0
        while events[number].type:
            if events[number].type == _PHONEME_EVENT:
                name = events[number].id.string.decode("utf-8", "ignore")
                self._phonemes.append((events[number].audio_position_ms / 1000, name))
            number += 1
        return 0
