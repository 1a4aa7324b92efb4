"""Items and helpers for stages that run in this process, with small random networks."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from joyvasa.config import load_config
from joyvasa.options import AnimationConfig
from manifests.record import Record
from stages.base import Item, Ok
from stages.config import StageConfig
from stages.motion import MotionConfig, MotionStage
from stages.portrait import PortraitStage
from stages.read_motion import ReadMotionStage
from stages.speech import SpeechStage
from tests.media import EXAMPLES

PORTRAIT = EXAMPLES / "portrait.jpg"


def options(*settings: str) -> AnimationConfig:
    defaults = ["models=random", "device=cpu", "picture.max_side=320", *settings]
    return load_config(AnimationConfig, settings=defaults)


def make_record(name: str, *, seed: int = 0, **row: Any) -> Record:
    values = {key: str(value) if isinstance(value, Path) else value for key, value in row.items()}
    return Record(id=name, seed=seed, **values)


def transfer(payload: Any) -> Any:
    """Return a payload as it comes out of an object store: unpickled, with read-only arrays."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(payload, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[bytes(buffer.raw()) for buffer in buffers])


def payloads(outcomes: list[Any]) -> list[Any]:
    assert all(isinstance(outcome, Ok) for outcome in outcomes), outcomes
    return [transfer(outcome.payload) for outcome in outcomes]


def set_up(stage: Any) -> Any:
    stage.setup()
    return stage


class UpstreamStages:
    """Run the portrait, speech and motion stages one after the other."""

    def __init__(self, config: AnimationConfig, determinism: Any = "fast") -> None:
        common = {"animation": config, "determinism": determinism}
        self.portrait = set_up(PortraitStage(StageConfig(**common)))
        self.speech = set_up(SpeechStage(StageConfig(**common)))
        self.read_motion = set_up(ReadMotionStage(StageConfig(**common)))
        self.motion = set_up(MotionStage(MotionConfig(**common, strict_batch=4)))

    def __call__(self, records: list[Record]) -> list[Item]:
        """Return items for the render stage."""
        items = [Item(record) for record in records]
        portraits, speech = payloads(self.portrait.run(items)), payloads(self.speech.run(items))
        driving = payloads(self.read_motion.run(items))
        inputs = [
            Item(record, {"speech": sound, "read_motion": motion})
            for record, sound, motion in zip(records, speech, driving, strict=True)
        ]
        motions = payloads(self.motion.run(inputs))
        rows = zip(records, portraits, motions, strict=True)
        return [Item(record, {"portrait": portrait, "motion": motion}) for record, portrait, motion in rows]


def same_bytes(left: Any, right: Any) -> bool:
    return left.keys() == right.keys() and all(left[name].tobytes() == right[name].tobytes() for name in left)


def max_difference(left: Any, right: Any) -> float:
    return max(float(np.abs(left[name] - right[name]).max()) for name in left)
