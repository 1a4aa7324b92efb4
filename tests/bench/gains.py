"""Measure how much faster runs are than the plain way, both in turns, and how far the results lie apart.

`python -m tests.bench.gains` prints a table; `--help` lists its options.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
import torch

from joyvasa.config import load_config
from joyvasa.models import AnimationConfig, Models
from joyvasa.rendering.portrait import Portrait
from joyvasa.runtime.device import autocast
from joyvasa.runtime.memory import usual_allocation
from pipelines.bench.chain import build_pipeline
from pipelines.bench.clock import Timing, interleaved
from pipelines.bench.inputs import make_records, payloads, ready, render_inputs
from pipelines.bench.passage import pass_through, scratch
from pipelines.bench.seeded import write_seeded_bundle
from pipelines.runs.config import RunConfig
from pipelines.runs.driver import with_absolute_paths
from pipelines.runs.resources import build_executor
from stages.base import Item
from stages.motion import MotionConfig, MotionPayload, MotionStage
from stages.render import RenderConfig, RenderStage
from stages.speech import SpeechConfig, SpeechPayload, SpeechStage
from tests.bench.plain_way import PlainWay


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


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """How much is measured.

    Attributes:
        records, sound_s: records of the whole chain, and seconds of sound of each.
        motion_records, motion_s: records of sampling alone, and seconds of sound of each.
        render_frames: frames of rendering alone.
        rounds: how often the two sides of a ratio take turns.
    """

    records: int = 16
    sound_s: float = 4.0
    motion_records: int = 16
    motion_s: float = 10.0
    render_frames: int = 8
    rounds: int = 3


QUICK = Amounts(records=4, sound_s=0.4, motion_records=4, motion_s=4.0, rounds=1)  # for a slow machine


def measure_gains(run: RunConfig, amounts: Amounts) -> tuple[Gain, ...]:
    """Measure all ratios against the plain way.

    Args:
        run: options of the runs that are measured.
        amounts: how much of each.
    """
    plain = PlainWay(run.animation)
    with scratch() as folder:
        return (
            _render(run.animation, amounts, plain, folder / "render"),
            _motion(run.animation, amounts, plain, folder / "motion"),
            _chain(run, amounts, plain, folder / "chain"),
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


def _render(animation: AnimationConfig, amounts: Amounts, plain: PlainWay, folder: Path) -> Gain:
    """Frames of one portrait, from motion to the finished video."""
    n_frames = amounts.render_frames
    device = plain.models.device
    record = make_records(folder / "media", 1, max(1.0, n_frames / 25))[0]
    portrait, motion = render_inputs(animation, record)
    motion = _first_frames(motion, n_frames)
    stage = ready(RenderStage(RenderConfig(animation=animation, run=str(folder / "run"))))
    silent = replace(record, audio=None)
    whole, sequence = portrait.portrait(device), motion.motion()

    def ours(play: MotionPayload = motion) -> None:
        payloads(stage, [Item(silent, {"portrait": portrait, "motion": play})])

    @usual_allocation()
    def plainly() -> None:
        plain.render(whole, sequence, None, folder / "plain.mp4")

    difference = _pixels_apart(plain, whole, motion, animation)  # the plain networks are warm from here on
    ours(_first_frames(motion, 1))
    timings = interleaved({"plain": plainly, "ours": ours}, device, rounds=amounts.rounds)
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


def _motion(animation: AnimationConfig, amounts: Amounts, plain: PlainWay, folder: Path) -> Gain:
    """Sampling alone, from encoded sound to smoothed motion."""
    records = make_records(folder, amounts.motion_records, amounts.motion_s)
    speech = ready(SpeechStage(SpeechConfig(animation=animation)))
    heard: list[SpeechPayload] = payloads(speech, [Item(record) for record in records])
    stage = ready(MotionStage(MotionConfig(animation=animation)))
    batch = [Item(record, {"speech": sound}) for record, sound in zip(records, heard, strict=True)]
    results: dict[str, list[MotionPayload]] = {}

    def ours() -> None:
        results["ours"] = payloads(stage, batch)

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

    timings = interleaved({"plain": plainly, "ours": ours}, plain.models.device, rounds=amounts.rounds)
    difference = max(
        float(np.abs(one.arrays[name] - other.arrays[name]).max())
        for one, other in zip(results["ours"], results["plain"], strict=True)
        for name in one.arrays
    )
    what = f"motion of {len(records)} records of {amounts.motion_s:g} s"
    return _gain("motion", what, len(records), timings, difference, here=True)


def _chain(config: RunConfig, amounts: Amounts, plain: PlainWay, folder: Path) -> Gain:
    """Pairs to videos; without metrics, of which the plain way knows nothing."""
    run = replace(config, metrics="none")
    records = make_records(folder / "media", amounts.records, amounts.sound_s)
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
            plain.animate(Path(record.image), Path(record.audio), folder / "plain.mp4", record.seed)

    first = records[0]
    plain.animate(Path(first.image), Path(first.audio), folder / "plain.mp4", first.seed)  # warm
    timings = interleaved({"plain": plainly, "ours": ours}, plain.models.device, rounds=amounts.rounds)
    timings["ours"] = Timing(tuple(ours_s), timings["ours"].processor_s)  # from warm workers on
    what = f"whole chain, {len(records)} records of {amounts.sound_s:g} s"
    return _gain("chain", what, len(records), timings, None, here=False)


def main() -> None:
    """Measure with the options of the command line and print a table."""
    parser = argparse.ArgumentParser(description="Measure rendering, sampling and the chain against the plain way.")
    parser.add_argument("--models", help="model bundle (default: the published sizes with seeded weights)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one option of generate")
    parser.add_argument("--quick", action="store_true", help="measure less of everything: for a slow machine")
    given = parser.parse_args()
    with scratch() as folder:
        if given.models is None:
            write_seeded_bundle(folder / "published-sizes")
        models = json.dumps(given.models or str(folder / "published-sizes"))
        run = with_absolute_paths(load_config(RunConfig, settings=[*given.set, f"animation.models={models}"]))
        gains = measure_gains(run, QUICK if given.quick else Amounts())
    print("| work | plain | here | ratio | by processor time | largest difference |")
    print("|---|---|---|---|---|---|")
    for one in gains:
        plain_s, ours_s = statistics.median(one.plain_s), statistics.median(one.ours_s)
        by_processor, apart = ("-" if n is None else f"{n:.3g}" for n in (one.processor_ratio, one.difference))
        print(f"| {one.what} | {plain_s:.3g} s | {ours_s:.3g} s | {one.ratio:.2f} | {by_processor} | {apart} |")


if __name__ == "__main__":
    main()
