"""How much faster than the plain way, both measured in turns in one run, and how far the results lie apart."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
import torch

from joyvasa.models import AnimationConfig, Models
from joyvasa.rendering.portrait import Portrait
from joyvasa.runtime.device import autocast
from joyvasa.runtime.memory import usual_allocation
from pipelines.bench.chain import build_pipeline
from pipelines.bench.clock import Timing, interleaved
from pipelines.bench.config import BenchConfig
from pipelines.bench.inputs import make_records
from pipelines.bench.passage import pass_through, scratch
from pipelines.bench.plain_way import PlainWay
from pipelines.runs.resources import build_executor
from stages.base import Failed, Item, Ok, Record, Stage
from stages.config import StageConfig
from stages.motion import MotionConfig, MotionPayload, MotionStage
from stages.portrait import PortraitPayload, PortraitStage
from stages.render import RenderConfig, RenderStage
from stages.speech import SpeechConfig, SpeechPayload, SpeechStage


@dataclass(frozen=True, kw_only=True)
class Gain:
    """One piece of work, done the plain way and as a run does it.

    Attributes:
        work: `render`, `motion` or `chain`.
        what: the same in words.
        items: how much of it; frames or records.
        plain_s, ours_s: each round; without the loading of models.
        ratio: median of `plain_s` over median of `ours_s`.
        processor_ratio: the same for the processor time of this process and so for work of this process alone, steadier
            where others use the machine; None for the chain, whose workers are other processes.
        difference: largest one between the results: for `render` in pixel values of 0 to 255, for `motion` in the
            numbers of the motion (angles in degrees); None for the chain.
    """

    work: str
    what: str
    items: int
    plain_s: tuple[float, ...]
    ours_s: tuple[float, ...]
    ratio: float
    processor_ratio: float | None
    difference: float | None


def measure_gains(config: BenchConfig) -> tuple[Gain, ...]:
    """All ratios against the plain way."""
    plain = PlainWay(config.run.animation)
    with scratch() as folder:
        return (
            _render(config, plain, folder / "render"),
            _motion(config, plain, folder / "motion"),
            _chain(config, plain, folder / "chain"),
        )


def _gain(
    work: str, what: str, items: int, timings: Mapping[str, Timing], difference: float | None, *, here: bool
) -> Gain:
    plain, ours = timings["plain"], timings["ours"]
    return Gain(
        work=work,
        what=what,
        items=items,
        plain_s=plain.seconds,
        ours_s=ours.seconds,
        ratio=plain.median_s / ours.median_s,
        processor_ratio=plain.median_processor_s / ours.median_processor_s if here else None,
        difference=difference,
    )


def _render(config: BenchConfig, plain: PlainWay, folder: Path) -> Gain:
    """Frames of one portrait, from motion to the finished video."""
    animation, n_frames = config.run.animation, config.render_frames
    device = plain.models.device
    record = make_records(folder / "media", 1, max(1.0, n_frames / 25))[0]
    portrait, motion = render_inputs(animation, record)
    motion = _first_frames(motion, n_frames)
    stage = _set_up(RenderStage(RenderConfig(animation=animation, run=str(folder / "run"))))
    silent = replace(record, row={**record.row, "audio": None})
    whole, sequence = portrait.portrait(device), motion.motion()

    def ours(play: MotionPayload = motion) -> None:
        _payloads(stage, [Item(silent, {"portrait": portrait, "motion": play})])

    @usual_allocation()
    def plainly() -> None:
        plain.render(whole, sequence, None, folder / "plain.mp4")

    difference = _pixels_apart(plain, whole, motion, animation)  # the plain networks are warm from here on
    ours(_first_frames(motion, 1))
    timings = interleaved({"plain": plainly, "ours": ours}, device, rounds=config.rounds)
    what = f"render of {n_frames} frames, pasted and encoded"
    return _gain("render", what, n_frames, timings, difference, here=True)


def _first_frames(motion: MotionPayload, n_frames: int) -> MotionPayload:
    return replace(motion, arrays={name: array[:n_frames] for name, array in motion.arrays.items()})


def _pixels_apart(plain: PlainWay, portrait: Portrait, motion: MotionPayload, animation: AnimationConfig) -> float:
    sequence = motion.motion()
    driver = plain.models.driver(portrait, sequence)
    keypoints = driver.keypoints(sequence)
    models = Models(animation)
    with torch.inference_mode():
        with autocast(models.device, animation.precision):
            ours = models.renderer.render(portrait.feature, driver.source_keypoints, keypoints)
        theirs = [plain.frame(portrait.feature, driver.source_keypoints, one[None]) for one in keypoints]
    return float((torch.cat(theirs).int() - ours.int()).abs().max())


def _motion(config: BenchConfig, plain: PlainWay, folder: Path) -> Gain:
    """Sampling alone, from encoded sound to smoothed motion."""
    animation = config.run.animation
    records = make_records(folder, config.motion_records, config.motion_s)
    speech = _set_up(SpeechStage(SpeechConfig(animation=animation)))
    heard: list[SpeechPayload] = _payloads(speech, [Item(record) for record in records])
    stage = _set_up(MotionStage(MotionConfig(animation=animation)))
    batch = [Item(record, {"speech": sound}) for record, sound in zip(records, heard, strict=True)]
    results: dict[str, list[MotionPayload]] = {}

    def ours() -> None:
        results["ours"] = _payloads(stage, batch)

    @usual_allocation()
    def plainly() -> None:
        motions = []
        for record, sound in zip(records, heard, strict=True):
            assert sound.plan is not None, "all records have sound"
            assert sound.features is not None, "and no motion file"
            features = [torch.from_numpy(window) for window in sound.features]
            motion = plain.sampler.sample(sound.plan, features, record.seed)
            motions.append(MotionPayload.of(motion, {}))
        results["plain"] = motions

    timings = interleaved({"plain": plainly, "ours": ours}, plain.models.device, rounds=config.rounds)
    difference = max(
        float(np.abs(one.arrays[name] - other.arrays[name]).max())
        for one, other in zip(results["ours"], results["plain"], strict=True)
        for name in one.arrays
    )
    what = f"motion of {len(records)} records of {config.motion_s:g} s"
    return _gain("motion", what, len(records), timings, difference, here=True)


def _chain(config: BenchConfig, plain: PlainWay, folder: Path) -> Gain:
    """Pairs to videos; without metrics, of which the plain way knows nothing."""
    run = replace(config.run, metrics="none")
    records = make_records(folder / "media", config.records, config.sound_s)
    numbers = count()
    ours_s: list[float] = []

    def ours() -> None:
        place = folder / f"ours-{next(numbers)}"
        pipeline = build_pipeline(run, place / "run")
        ours_s.append(pass_through(pipeline, records, build_executor(run, pipeline), place).elapsed_s)
        shutil.rmtree(place)

    @usual_allocation()
    def plainly() -> None:
        for record in records:
            plain.animate(Path(record.row["image"]), Path(record.row["audio"]), folder / "plain.mp4", record.seed)

    first = records[0]
    plain.animate(Path(first.row["image"]), Path(first.row["audio"]), folder / "plain.mp4", first.seed)  # warm
    timings = interleaved({"plain": plainly, "ours": ours}, plain.models.device, rounds=config.rounds)
    timings["ours"] = Timing(tuple(ours_s), timings["ours"].processor_s)  # from warm workers on
    what = f"whole chain, {len(records)} records of {config.sound_s:g} s"
    return _gain("chain", what, len(records), timings, None, here=False)


def render_inputs(animation: AnimationConfig, record: Record) -> tuple[PortraitPayload, MotionPayload]:
    """What rendering a record needs."""
    portraits = _payloads(_set_up(PortraitStage(StageConfig(animation=animation))), [Item(record)])
    heard = _payloads(_set_up(SpeechStage(SpeechConfig(animation=animation))), [Item(record)])
    motions = _payloads(_set_up(MotionStage(MotionConfig(animation=animation))), [Item(record, {"speech": heard[0]})])
    return portraits[0], motions[0]


def _set_up(stage: Stage) -> Stage:
    stage.setup()
    return stage


def _payloads(stage: Stage, batch: list[Item]) -> list:  # of what the stage gives
    outcomes = stage.run(batch)
    for outcome in outcomes:
        if isinstance(outcome, Failed):
            raise RuntimeError(f"{outcome.code}: {outcome.sentence}")
    return [outcome.payload for outcome in outcomes if isinstance(outcome, Ok)]
