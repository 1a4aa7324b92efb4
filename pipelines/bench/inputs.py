"""Records to measure with: portraits and recordings of any length, no two of them the same; and inputs of stages."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

from joyvasa.media.audio import SAMPLE_RATE, load_audio
from joyvasa.media.image import read_image
from joyvasa.models import AnimationConfig
from manifests.examples import FOLDER
from manifests.record import Record
from stages.base import Failed, Item, Ok, Stage
from stages.config import StageConfig
from stages.motion import MotionConfig, MotionPayload, MotionStage
from stages.portrait import PortraitPayload, PortraitStage
from stages.speech import SpeechConfig, SpeechStage


def make_records(folder: Path, n_records: int, sound_s: float) -> list[Record]:
    """Writes portraits and recordings, and says how a run would call them.

    Each picture and each recording differs a little from all others, so that stages which work once for each distinct
    file have all the work.

    Args:
        folder: for the files; made.
        n_records: how many.
        sound_s: seconds of each recording.
    """
    import cv2

    folder.mkdir(parents=True)
    pictures = [read_image(path) for path in sorted(FOLDER.glob("portrait*.jpg"))]
    voice = np.concatenate([load_audio(path) for path in sorted(FOLDER.glob("speech*.flac"))])
    records = []
    for number in range(n_records):
        image, audio = folder / f"{number:04d}.png", folder / f"{number:04d}.wav"
        picture = pictures[number % len(pictures)].copy()
        picture[0, 0] = number % 256, number // 256, 0
        cv2.imwrite(str(image), picture[:, :, ::-1])
        _write_sound(audio, np.resize(np.roll(voice, -number * SAMPLE_RATE // 7), round(sound_s * SAMPLE_RATE)))
        records.append(Record(id=f"r{number:04d}", image=str(image), audio=str(audio), seed=number))
    return records


def render_inputs(animation: AnimationConfig, record: Record) -> tuple[PortraitPayload, MotionPayload]:
    """Compute what rendering a record needs."""
    portraits = payloads(ready(PortraitStage(StageConfig(animation=animation))), [Item(record)])
    heard = payloads(ready(SpeechStage(SpeechConfig(animation=animation))), [Item(record)])
    motions = payloads(ready(MotionStage(MotionConfig(animation=animation))), [Item(record, {"speech": heard[0]})])
    return portraits[0], motions[0]


def ready(stage: Stage) -> Stage:
    """Set a stage up."""
    stage.setup()
    return stage


def payloads(stage: Stage, batch: list[Item]) -> list:  # the type depends on the stage
    """Run a batch that must succeed.

    Raises:
        RuntimeError: a record failed.
    """
    outcomes = stage.run(batch)
    for outcome in outcomes:
        if isinstance(outcome, Failed):
            raise RuntimeError(f"{outcome.code}: {outcome.sentence}")
    return [outcome.payload for outcome in outcomes if isinstance(outcome, Ok)]


def _write_sound(path: Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
