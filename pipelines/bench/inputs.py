"""Records to measure with, all with distinct portraits and recordings of any length, inputs of stages, and a bundle."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import yaml

from joyvasa.bundles import open_bundle
from joyvasa.media.audio import SAMPLE_RATE, load_audio
from joyvasa.media.image import read_image
from joyvasa.options import AnimationConfig
from joyvasa.training.clips import to_pcm16
from manifests.examples import FOLDER
from manifests.record import Record
from stages.base import Failed, Item, Ok, Stage
from stages.config import StageConfig
from stages.motion import MotionConfig, MotionPayload, MotionStage
from stages.portrait import PortraitPayload, PortraitStage
from stages.speech import SpeechStage


def make_records(folder: Path, n_records: int, sound_s: float) -> list[Record]:
    """Write portraits and recordings to a new folder, and return their records.

    Pictures and recordings all differ a little, so that stages which process each distinct file once cannot share
    results.
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
        samples = np.resize(np.roll(voice, -number * SAMPLE_RATE // 7), round(sound_s * SAMPLE_RATE))
        with wave.open(str(audio), "wb") as file:
            file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", "NONE"))  # mono, 16 bits
            file.writeframes(to_pcm16(samples).tobytes())
        records.append(Record(id=f"r{number:04d}", image=str(image), audio=str(audio), seed=number))
    return records


def render_inputs(animation: AnimationConfig, record: Record) -> tuple[PortraitPayload, MotionPayload]:
    """Compute the inputs of the render stage for a record."""
    portraits = run_stage(set_up(PortraitStage(StageConfig(animation=animation))), [Item(record)])
    speech = run_stage(set_up(SpeechStage(StageConfig(animation=animation))), [Item(record)])
    motions = run_stage(set_up(MotionStage(MotionConfig(animation=animation))), [Item(record, {"speech": speech[0]})])
    return portraits[0], motions[0]


def set_up(stage: Stage) -> Stage:
    """Set a stage up and return it."""
    stage.setup()
    return stage


def run_stage(stage: Stage, batch: list[Item]) -> list:  # the type depends on the stage
    """Run a batch and return its payloads.

    Raises:
        RuntimeError: a record failed.
    """
    outcomes = stage.run(batch)
    for outcome in outcomes:
        if isinstance(outcome, Failed):
            raise RuntimeError(f"{outcome.code}: {outcome.sentence}")
    return [outcome.payload for outcome in outcomes if isinstance(outcome, Ok)]


NAME = "published-sizes"
# As in the bundle `random`: gives a head of ordinary size that looks ahead, for any weights.
_FACE = {
    "scales": {"detector.fc_scale.weight": 0.01, "detector.fc_exp.*": 0.05, "detector.fc_t.*": 0.05},
    "constants": {"detector.fc_scale.bias": 1.4},
}


def write_seeded_bundle(folder: Path) -> None:
    """Write a bundle with the networks of the bundle `joyvasa` for people, initialized randomly on loading.

    Args:
        folder: new folder of the bundle, to be passed as `--models FOLDER`.
    """
    published = open_bundle("joyvasa").spec
    roles = {}
    for name in published.roles_for_mode("human"):
        role = published.roles[name]
        if role.network or name == "motion_template":
            roles[name] = {"format": "generated", "license": "none", "modes": ["human"], "optional": role.optional}
            roles[name] |= {"network": role.network, "config": role.config} if role.network else {}
    roles["motion_extractor"] |= _FACE

    content = {
        "format_version": 1,
        "name": NAME,
        "description": "Published sizes, seeded untrained weights; for measuring speed",
        "licenses": {"none": {"name": "none needed", "commercial": "yes"}},
        "switches": {"synthetic": True, "detector": "blazeface"},
        "roles": roles,
    }
    folder.mkdir(parents=True)
    (folder / "bundle.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
