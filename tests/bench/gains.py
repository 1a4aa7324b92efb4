"""Measure the speed-up of runs over a baseline, both in turns, and the difference of the results.

`python -m tests.bench.gains` prints a table; `--help` lists its options.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
import torch

from joyvasa.models import Models
from joyvasa.options import AnimationConfig
from joyvasa.rendering.portrait import Portrait
from joyvasa.runtime.device import autocast
from manifests.scratch import scratch_folder
from pipelines.bench.chain import build_pipeline
from pipelines.bench.inputs import make_records, render_inputs, run_stage, set_up
from pipelines.bench.timed_run import run_once
from pipelines.bench.timing import Timing, time_in_turns
from pipelines.runs.config import RunConfig
from pipelines.runs.resources import build_executor
from stages.base import Item
from stages.config import StageConfig
from stages.motion import MotionConfig, MotionPayload, MotionStage
from stages.render import RenderConfig, RenderStage
from stages.speech import SpeechPayload, SpeechStage
from tests.allocation import default_allocation
from tests.bench.baseline import Baseline
from tests.bench.command import command_line_run


@dataclass(frozen=True, kw_only=True)
class Gain:
    """Speed of one computation, as the baseline and as a run does it.

    Attributes:
        name: `render`, `motion` or `chain`.
        description: one line of text.

        baseline_s, ours_s: time of each round, without loading models.
        ratio: median of `baseline_s` divided by the median of `ours_s`.
        processor_ratio: the same ratio of processor times, more stable on a shared machine; None for the chain, whose
            workers are other processes.
        difference: largest difference of the results: pixel values of 0 to 255 for `render`, elements of the motion
            (angles in degrees) for `motion`; None for the chain.
    """

    name: str
    description: str
    baseline_s: tuple[float, ...]
    ours_s: tuple[float, ...]
    ratio: float
    processor_ratio: float | None
    difference: float | None


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """Sizes of the measured computations.

    Attributes:
        records, sound_s: number of records of the whole chain, and seconds of sound of each.
        motion_records, motion_s: number of records of sampling alone, and seconds of sound of each.
        render_frames: number of frames of rendering alone.
        rounds: number of rounds in which both sides take turns.
    """

    records: int = 16
    sound_s: float = 4.0
    motion_records: int = 16
    motion_s: float = 10.0
    render_frames: int = 8
    rounds: int = 3


QUICK = Amounts(records=4, sound_s=0.4, motion_records=4, motion_s=4.0, rounds=1)  # for slow machines


def measure_gains(run: RunConfig, amounts: Amounts) -> tuple[Gain, ...]:
    """Measure rendering, sampling and the whole chain against the baseline.

    Args:
        run: options of the measured runs.
        amounts: sizes of the computations.
    """
    baseline = Baseline(run.animation)
    with scratch_folder() as folder:
        return (
            _measure_render(run.animation, amounts, baseline, folder / "render"),
            _measure_motion(run.animation, amounts, baseline, folder / "motion"),
            _measure_chain(run, amounts, baseline, folder / "chain"),
        )


def _gain(
    name: str,
    description: str,
    timings: Mapping[str, Timing],
    difference: float | None,
    *,
    in_process: bool,
) -> Gain:
    baseline, ours = timings["baseline"], timings["ours"]
    return Gain(
        name=name,
        description=description,
        baseline_s=baseline.seconds,
        ours_s=ours.seconds,
        ratio=baseline.median_s / ours.median_s,
        processor_ratio=baseline.median_processor_s / ours.median_processor_s if in_process else None,
        difference=difference,
    )


def _measure_render(animation: AnimationConfig, amounts: Amounts, baseline: Baseline, folder: Path) -> Gain:
    """Measure frames of one portrait, from motion to the finished video."""
    n_frames = amounts.render_frames
    device = baseline.models.device
    record = make_records(folder / "media", 1, max(1.0, n_frames / 25))[0]
    portrait_payload, motion = render_inputs(animation, record)
    motion = _first_frames(motion, n_frames)
    stage = set_up(RenderStage(RenderConfig(animation=animation, run=str(folder / "run"))))
    silent = replace(record, audio=None)
    portrait, sequence = portrait_payload.to_portrait(device), motion.to_motion()

    def run_ours(motion: MotionPayload = motion) -> None:
        run_stage(stage, [Item(silent, {"portrait": portrait_payload, "motion": motion})])

    @default_allocation()
    def run_baseline() -> None:
        baseline.render(portrait, sequence, None, folder / "baseline.mp4")

    difference = _pixel_difference(baseline, portrait, motion, animation)  # also warms up the baseline's networks
    run_ours(_first_frames(motion, 1))
    timings = time_in_turns({"baseline": run_baseline, "ours": run_ours}, device, rounds=amounts.rounds)
    description = f"render of {n_frames} frames, pasted and encoded"
    return _gain("render", description, timings, difference, in_process=True)


def _first_frames(motion: MotionPayload, n_frames: int) -> MotionPayload:
    return replace(motion, arrays={name: array[:n_frames] for name, array in motion.arrays.items()})


def _pixel_difference(
    baseline: Baseline, portrait: Portrait, motion: MotionPayload, animation: AnimationConfig
) -> float:
    sequence = motion.to_motion()
    driver = baseline.models.build_driver(portrait, sequence)
    keypoints = driver.keypoints(sequence)
    models = Models(animation)
    with torch.inference_mode():
        with autocast(models.device, animation.precision):
            ours = models.renderer.render(portrait.feature, driver.source_keypoints, keypoints)
        frames = [baseline.render_frame(portrait.feature, driver.source_keypoints, k[None]) for k in keypoints]
    return float((torch.cat(frames).int() - ours.int()).abs().max())


def _measure_motion(animation: AnimationConfig, amounts: Amounts, baseline: Baseline, folder: Path) -> Gain:
    """Measure sampling alone, from encoded sound to smoothed motion."""
    records = make_records(folder, amounts.motion_records, amounts.motion_s)
    speech_stage = set_up(SpeechStage(StageConfig(animation=animation)))
    speech: list[SpeechPayload] = run_stage(speech_stage, [Item(record) for record in records])
    stage = set_up(MotionStage(MotionConfig(animation=animation)))
    batch = [Item(record, {"speech": payload}) for record, payload in zip(records, speech, strict=True)]
    results: dict[str, list[MotionPayload]] = {}

    def run_ours() -> None:
        results["ours"] = run_stage(stage, batch)

    @default_allocation()
    def run_baseline() -> None:
        motions = []
        for record, payload in zip(records, speech, strict=True):
            assert payload.plan is not None, "all records have sound"
            assert payload.features is not None, "and no motion file"
            features = [torch.from_numpy(window) for window in payload.features]
            motion = baseline.sampler.sample(payload.plan, features, record.seed)
            motions.append(MotionPayload.from_motion(motion, {}, sound_channels=1))
        results["baseline"] = motions

    functions = {"baseline": run_baseline, "ours": run_ours}
    timings = time_in_turns(functions, baseline.models.device, rounds=amounts.rounds)
    difference = max(
        float(np.abs(ours.arrays[name] - other.arrays[name]).max())
        for ours, other in zip(results["ours"], results["baseline"], strict=True)
        for name in ours.arrays
    )
    description = f"motion of {len(records)} records of {amounts.motion_s:g} s"
    return _gain("motion", description, timings, difference, in_process=True)


def _measure_chain(config: RunConfig, amounts: Amounts, baseline: Baseline, folder: Path) -> Gain:
    """Measure pairs to videos, without metrics, which the baseline does not compute."""
    run = replace(config, metrics="none")
    records = make_records(folder / "media", amounts.records, amounts.sound_s)
    numbers = count()
    ours_s: list[float] = []

    def run_ours() -> None:
        round_folder = folder / f"ours-{next(numbers)}"
        pipeline = build_pipeline(run, round_folder / "run")
        ours_s.append(run_once(pipeline, records, build_executor(run, pipeline), round_folder).elapsed_s)
        shutil.rmtree(round_folder)

    @default_allocation()
    def run_baseline() -> None:
        for record in records:
            baseline.animate(Path(record.image), Path(record.audio), folder / "baseline.mp4", record.seed)

    first = records[0]
    baseline.animate(Path(first.image), Path(first.audio), folder / "baseline.mp4", first.seed)  # warm-up
    functions = {"baseline": run_baseline, "ours": run_ours}
    timings = time_in_turns(functions, baseline.models.device, rounds=amounts.rounds)
    timings["ours"] = Timing(tuple(ours_s), timings["ours"].processor_s)  # from ready workers
    description = f"whole chain, {len(records)} records of {amounts.sound_s:g} s"
    return _gain("chain", description, timings, None, in_process=False)


def main() -> None:
    """Measure with the options of the command line and print a table."""
    with command_line_run("Measure rendering, sampling and the whole chain against a baseline.") as (run, quick):
        gains = measure_gains(run, QUICK if quick else Amounts())
    print("| what | baseline | here | ratio | ratio of processor times | largest difference |")
    print("|---|---|---|---|---|---|")
    for gain in gains:
        baseline_s, ours_s = statistics.median(gain.baseline_s), statistics.median(gain.ours_s)
        processor, difference = ("-" if n is None else f"{n:.3g}" for n in (gain.processor_ratio, gain.difference))
        times = f"{baseline_s:.3g} s | {ours_s:.3g} s | {gain.ratio:.2f}"
        print(f"| {gain.description} | {times} | {processor} | {difference} |")


if __name__ == "__main__":
    main()
