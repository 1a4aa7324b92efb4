"""Measure what each control changes in finished videos, and draw a contact sheet of each.

    python -m joyvasa.sample.measurement.control_effects PORTRAIT... --speech FILE --out OUT

All videos are driven by a motion that is sampled from the recording; where the amount of head motion is measured, turns
are added to it that the readers can tell from their errors. A video that exists in OUT is not made
again, so that an interrupted measurement continues.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import typer

from joyvasa.animator import Animator
from joyvasa.config import config_to_dict, load_config
from joyvasa.errors import ConfigError
from joyvasa.media.audio import SAMPLE_RATE, probe_audio, stream_audio
from joyvasa.media.image import Image
from joyvasa.metrics.blink import count_motion_blinks
from joyvasa.metrics.first_frame import ssim
from joyvasa.mode import Mode
from joyvasa.motion.file import save_motion
from joyvasa.options import AnimationConfig
from joyvasa.sample.measurement.animal_reader import AnimalReader, AnimalReadings
from joyvasa.sample.measurement.control_reader import ControlReader, FaceReadings
from joyvasa.sample.measurement.reader_response import ResponseCurve
from joyvasa.sample.measurement.sheets import draw_caption, join_tiles
from joyvasa.sample.measurement.videos import write_sound
from joyvasa.sample.networks.animal_motion_extractor import AnimalMotionExtractor
from joyvasa.sample.networks.motion_extractor import CompactMotionExtractor
from joyvasa.sample.training.command import run_command

SHORT, LONG, TURNING = "short", "long", "turning"  # motions
SECONDS = {SHORT: 0.8, LONG: 8.0, TURNING: 2.0}
# Motions other than the short one: a long one for what is rare, one that turns the head for its amount.
MOTIONS = {"pose.amount": TURNING, "blink.rate": LONG, "blink.amount": LONG}
RATE = 25.0
TURN_DEGREES, TURN_S = 8.0, 2.0  # size and period of the turns
TILE = 160  # pixels
JPEG_QUALITY = 82

Readings = FaceReadings | AnimalReadings
Measure = Callable[[Any], float]  # reads a number from `Readings`


@dataclass(frozen=True)
class Trial:
    """A value of a control, and what it should change."""

    control: str  # name of the option
    value: float
    measure: Measure  # function that reads a number from a video
    what: str  # what the number is, and its unit
    low: float  # least number that holds
    high: float  # largest number that holds
    # whether the number of the video without the control is subtracted (`minus`), divides it (`times`), or neither;
    # `closed` subtracts the number that `response` has for closed lips
    change: str = ""
    # the frame of the sheet: that with the widest mouth, the most closed eyes, the largest turn, or at rest
    frame: str = "rest"
    response: str = ""  # name of the curve of `measure_responses` that corrects the number; empty for none


def _mean(name: str) -> Measure:
    return lambda readings: float(np.nanmean(getattr(readings, name)))


def _percentile(name: str, percent: float) -> Measure:
    return lambda readings: float(np.nanpercentile(getattr(readings, name), percent))


def _least_opening(name: str) -> Measure:
    """Measure the least opening of the eyes relative to that at rest."""

    def measure(readings: FaceReadings) -> float:
        eyes = getattr(readings, name).mean(1)
        return float(np.nanmin(eyes) / np.nanmedian(eyes))

    return measure


def _sway(readings: Readings) -> float:
    return float(np.std(readings.yaw))


def _blinks(readings: FaceReadings) -> float:
    eyes = readings.eyes.mean(1)
    return count_motion_blinks(eyes, RATE) / (len(eyes) / RATE) * 60


def _right_eye(readings: FaceReadings) -> float:
    return float(np.median(readings.eyes[:, 0] - readings.eyes[:, 1]))


def _widest_jaw(readings: AnimalReadings) -> float:
    return float(np.percentile(readings.mouth, 95) - np.percentile(readings.mouth, 5))


def _center(axis: int) -> Measure:
    return lambda readings: float(np.nanmedian(readings.center[:, axis]))


MOUTH, LIPS, EYES, CORNERS, BROWS, TURNED = "mouth", "lips", "eyes", "corners", "brows", "turned"
SWAY, WIDEST, WIDEST_BY_M = (
    "standard deviation of yaw by M",
    "widest mouth by face mesh, eye distances",
    "widest mouth by M, height / width",
)
REST_MOUTH, REST_EYES = "mouth at rest by M, height / width", "eyes at rest by iris network"
N_BLINKS, LEAST = "blinks per minute by M", "least opening of the eyes, of that at rest, by"
CORNER_HEIGHT, BROW_HEIGHT = "corners of the mouth by face mesh, eye distances", "brows by face mesh, eye distances"
WINK, FACE_SIZE = "right minus left eye by M, height / width", "size of the face by face mesh"
TRIALS = (
    *(
        Trial(f"pose.{angle}", value, _mean(angle), f"{angle} by M, degrees", value - 3, value + 3, "minus")
        for angle in ("yaw", "pitch", "roll")
        for value in (15.0, -15.0)
    ),
    Trial("pose.amount", 0.0, _sway, SWAY, 0, 0.35, "times", TURNED),
    Trial("pose.amount", 2.0, _sway, SWAY, 1.6, 2.4, "times", TURNED),
    *(
        trial
        for control in ("expression.amount", "mouth.amount")
        for trial in (
            Trial(control, 0.0, _percentile("teacher_mouth", 95), WIDEST, -0.05, 0.05, "closed", MOUTH, LIPS),
            Trial(control, 0.0, _percentile("mouth", 95), WIDEST_BY_M, -0.07, 0.07, "closed", MOUTH, MOUTH),
            Trial(control, 0.5, _percentile("mouth", 95), WIDEST_BY_M, 0.35, 0.65, "times", MOUTH, MOUTH),
            Trial(control, 1.5, _percentile("mouth", 95), WIDEST_BY_M, 1.3, 1.7, "times", MOUTH, MOUTH),
        )
    ),
    Trial("mouth.open", 0.2, _percentile("mouth", 10), REST_MOUTH, 0.15, 0.25, "minus"),
    Trial("mouth.open", 0.4, _percentile("mouth", 10), REST_MOUTH, 0.32, 0.48, "minus"),
    Trial("eyes.open", 0.3, _percentile("teacher_eyes", 50), REST_EYES, 0.5, 0.8, "times", response=EYES),
    # The iris network reads eyes that are 1.4 times as open as 1.02 times as open at most; its error is 0.02.
    Trial("eyes.open", 0.6, _percentile("teacher_eyes", 50), REST_EYES, 1.04, 1.4, "times"),
    Trial("blink.rate", 0.0, _blinks, N_BLINKS, 0, 0, "", EYES),
    Trial("blink.rate", 15.0, _blinks, N_BLINKS, 10, 20, "", EYES),
    Trial("blink.rate", 30.0, _blinks, N_BLINKS, 25, 35, "", EYES),
    Trial("blink.amount", 0.0, _least_opening("eyes"), f"{LEAST} M", 0.85, 1.1, "", EYES),
    Trial("blink.amount", 0.5, _least_opening("teacher_eyes"), f"{LEAST} iris network", 0.3, 0.75, "", EYES, EYES),
    Trial("smile", 1.0, _mean(CORNERS), CORNER_HEIGHT, 0.04, 0.2, "minus", response=CORNERS),
    Trial("smile", -0.3, _mean(CORNERS), CORNER_HEIGHT, -0.1, -0.01, "minus", response=CORNERS),
    Trial("brow", 1.0, _mean(BROWS), BROW_HEIGHT, 0.05, 0.2, "minus", response=BROWS),
    Trial("brow", -1.0, _mean(BROWS), BROW_HEIGHT, -0.2, -0.05, "minus", response=BROWS),
    Trial("wink", 1.0, _right_eye, WINK, -0.6, -0.25),
    Trial("wink", -1.0, _right_eye, WINK, 0.25, 0.6),
    Trial("framing.scale", 1.25, _mean("eye_distance"), FACE_SIZE, 0.76, 0.84, "times"),
    Trial("framing.scale", 0.8, _mean("eye_distance"), FACE_SIZE, 1.2, 1.3, "times"),
    Trial("framing.x", 0.1, _center(0), "face to the right by face mesh, sides of the crop", -0.12, -0.08, "minus"),
    Trial("framing.y", 0.1, _center(1), "face downwards by face mesh, sides of the crop", -0.12, -0.08, "minus"),
)
PLACE = "by the place of the nose, degrees"
JAW, OPENING = "widest mouth by patches of the jaw", "mouth at rest by patches of the jaw, units"
ANIMAL_TRIALS = (
    *(
        Trial(f"pose.{angle}", value, _mean(angle), f"{angle} {by}", value - 3, value + 3, "minus")
        for angle, by in (("yaw", PLACE), ("pitch", PLACE), ("roll", "by the line between the eyes, degrees"))
        for value in (15.0, -15.0)
    ),
    Trial("pose.amount", 0.0, _sway, f"standard deviation of yaw {PLACE}", 0, 0.35, "times", TURNED),
    Trial("pose.amount", 2.0, _sway, f"standard deviation of yaw {PLACE}", 1.6, 2.4, "times", TURNED),
    *(
        trial
        for control in ("expression.amount", "mouth.amount")
        for trial in (
            Trial(control, 0.0, _widest_jaw, JAW, -0.1, 0.25, "times", MOUTH),
            Trial(control, 2.0, _widest_jaw, JAW, 1.5, 2.5, "times", MOUTH),
        )
    ),
    Trial("mouth.open", 0.2, _percentile("mouth", 10), OPENING, 0.15, 0.27, "minus"),
    Trial("mouth.open", 0.4, _percentile("mouth", 10), OPENING, 0.3, 0.53, "minus"),
    Trial("framing.scale", 1.25, _mean("unit"), "size of the face by landmarks", 0.76, 0.84, "times"),
    Trial("framing.scale", 0.8, _mean("unit"), "size of the face by landmarks", 1.2, 1.3, "times"),
    Trial("framing.x", 0.1, _center(0), "face to the right by landmarks, sides of the crop", -0.12, -0.08, "minus"),
    Trial("framing.y", 0.1, _center(1), "face downwards by landmarks, sides of the crop", -0.12, -0.08, "minus"),
)
NO_CURVE = ResponseCurve(np.zeros(1), np.full(1, np.nan))  # corrects readings to NaN
UNSUPPORTED = (("gaze.x", 0.5), ("gaze.y", 0.5))


@dataclass(frozen=True)
class Result:
    """The numbers of a trial, one of each portrait."""

    trial: Trial
    values: Sequence[float]
    similarities: Sequence[float]  # of the first face to that of the video without the control, SSIM
    readings: Sequence[float] = ()  # before the correction, if there is one

    @property
    def holds(self) -> bool:
        """Whether the numbers of all portraits are in the range."""
        return all(self.trial.low <= value <= self.trial.high for value in self.values)


@dataclass(frozen=True)
class Measured:
    """What a trial shows on one portrait."""

    value: float  # corrected for the response of the reader
    reading: float  # as it was read
    similarity: float  # of the first face to that of the video without the control, SSIM
    frames: Sequence[Image]  # one without and one with the control


class ControlMeasurement:
    """Makes and reads the videos of one portrait with motion files, given by name."""

    def __init__(self, portrait: Path, out: Path, animator: Animator, motions: Mapping[str, Path]) -> None:
        self._portrait, self._out, self._animator, self._motions = portrait, out, animator, motions
        extractor = animator.models.network("motion_extractor")
        self._responses: Mapping[str, ResponseCurve] = {}
        if isinstance(extractor, AnimalMotionExtractor):
            self._reader = AnimalReader(extractor)
        else:
            assert isinstance(extractor, CompactMotionExtractor)
            self._reader = ControlReader(extractor)
            self._responses = self._reader.measure_responses(animator.read_picture(portrait))
        self._plain: dict[tuple[str, bool], Readings] = {}

    def measure(self, trial: Trial) -> Measured:
        """Make the video of a trial and read it."""
        motion = MOTIONS.get(trial.control, SHORT)
        pasted = not trial.control.startswith("framing")
        if (motion, pasted) not in self._plain:
            self._plain[motion, pasted] = self._read({}, motion, pasted)
        plain = self._plain[motion, pasted]
        readings = self._read({trial.control: trial.value}, motion, pasted)

        curve = self._responses.get(trial.response, NO_CURVE)
        after, before = trial.measure(readings), trial.measure(plain)
        value = reading = _compare(after, before, trial.change)
        if trial.change == "closed":
            value = after - float(curve.readings[0])
        elif trial.response == MOUTH:  # the curve is that of single readings
            value = _compare(curve.correct(after), curve.correct(before), trial.change)
        elif trial.response:
            value = curve.correct(reading)
        number = _choose_frame(plain, trial.frame)
        same = trial.frame != EYES
        return Measured(
            value=value,
            reading=reading,
            similarity=ssim(readings.crops[0], plain.crops[0]),
            frames=[plain.crops[number], readings.crops[number if same else _choose_frame(readings, EYES)]],
        )

    def _read(self, options: Mapping[str, float], motion: str, pasted: bool) -> Readings:
        config = set_options(self._animator.config, {"paste_back": pasted, **options})
        name = "-".join([self._portrait.stem, motion, *(f"{k}={v:g}" for k, v in options.items())])
        path = self._out / f"{name}{'' if pasted else '-crop'}.mp4"
        animator = Animator(config, models=self._animator.models)
        if not path.exists():
            animator.animate(self._portrait, None, path, motion=self._motions[motion])
        return self._reader.read(path, animator.read_picture(self._portrait), pasted=pasted)


def _compare(value: float, before: float, change: str) -> float:
    return value - before if change == "minus" else value / before if change == "times" else value


def sample_motion_file(animator: Animator, speech: Path, out: Path, name: str) -> Path:
    """Sample one of the motions of a recording, which is repeated, and write it to a file."""
    sound = out / f"{name}.wav"
    samples = np.concatenate([*stream_audio(speech)])
    n_samples = int(SECONDS[name] * SAMPLE_RATE)
    write_sound(sound, np.tile(samples, n_samples // len(samples) + 1)[:n_samples])
    recording = animator.prepare_recording(sound, probe_audio(sound), animator.config.seed)
    motion = animator.sample_motions([recording])[0]
    if name == TURNING:
        time_s = torch.arange(len(motion))[:, None] / motion.frames_per_second
        motion = replace(motion, yaw=motion.yaw + TURN_DEGREES * torch.sin(2 * math.pi / TURN_S * time_s))
    path = sound.with_suffix(".safetensors")
    save_motion(path, motion)
    return path


def set_options(config: AnimationConfig, options: Mapping[str, float | bool]) -> AnimationConfig:
    """Return a configuration with options by their names."""
    settings = [f"{name}={json.dumps(value)}" for name, value in options.items()]
    return load_config(AnimationConfig, preset=config_to_dict(config), settings=settings)


def _choose_frame(readings: Readings, kind: str) -> int:
    if kind == MOUTH:
        return int(np.argmax(readings.mouth))
    if kind == TURNED:
        return int(np.argmax(np.abs(readings.yaw - readings.yaw[0])))
    if kind == EYES and isinstance(readings, FaceReadings):
        return int(np.nanargmin(readings.teacher_eyes.mean(1)))
    eyes = readings.eyes.mean(1)
    return int(np.argmin(readings.mouth - 2 * np.minimum(eyes, np.median(eyes))))


def draw_sheet(captions: Sequence[str], rows: Sequence[Sequence[Image]]) -> Image:
    """Return a sheet with one row per portrait, and a caption above each column."""
    head = np.hstack([draw_caption(caption, TILE) for caption in captions])
    return np.vstack([head, *(join_tiles(row, TILE) for row in rows)]).astype(np.uint8)


def write_results(out: Path, results: Sequence[Result], refused: Mapping[str, str], portraits: Sequence[str]) -> str:
    """Write `controls.md` and return its text."""
    lines = [f"| control | value | measured | aim | {' | '.join(portraits)} | first face, SSIM | holds |"]
    lines += [f"|{'---|' * (6 + len(portraits))}"]
    for result in results:
        trial = result.trial
        change = {"minus": ", change", "times": ", times", "closed": ", above closed lips"}.get(trial.change, "")
        values = [f"{value:.2f}" for value in result.values]
        if result.readings:
            values = [f"{text} (read {read:.2f})" for text, read in zip(values, result.readings, strict=True)]
        aim = f"{trial.low:g} to {trial.high:g}"
        similarity = f"{min(result.similarities):.2f}"
        what = trial.what + change + (", corrected" if trial.response and trial.change != "closed" else "")
        cells = (f"`{trial.control}`", f"{trial.value:g}", what, aim, *values, similarity)
        lines.append(f"| {' | '.join(cells)} | {'yes' if result.holds else 'NO'} |")
    for name, sentence in refused.items():
        lines.append(f"| `{name}` | 0.5 | refused: {sentence} |{' |' * (3 + len(portraits))}")
    text = "\n".join(lines) + "\n"
    (out / "controls.md").write_text(text, encoding="utf-8")
    return text


def measure_controls(
    portraits: Annotated[list[Path], typer.Argument(help="Pictures of people, or of animals with --mode animal.")],
    speech: Annotated[Path, typer.Option(help="Recording of a voice.")],
    out: Annotated[Path, typer.Option(help="Folder for the videos, the table controls.md and the sheets.")],
    only: Annotated[str, typer.Option(help="Measure the controls whose names start with this text.")] = "",
    mode: Annotated[Mode, typer.Option(help="What the pictures show.")] = "human",
) -> None:
    """Measure each control of the built-in model on finished videos, print a table and write a sheet per control."""
    out.mkdir(parents=True, exist_ok=True)
    animator = Animator(AnimationConfig(device="cpu", seed=2, mode=mode))
    motions = {name: sample_motion_file(animator, speech, out, name) for name in SECONDS}
    measured = [ControlMeasurement(path, out, animator, motions) for path in portraits]
    results: list[Result] = []
    names = [path.stem for path in portraits]
    trials = [trial for trial in (TRIALS if mode == "human" else ANIMAL_TRIALS) if trial.control.startswith(only)]
    for control in dict.fromkeys(trial.control for trial in trials):
        captions, rows = ["without"], [[] for _ in measured]
        for trial in (trial for trial in trials if trial.control == control):
            found = [entry.measure(trial) for entry in measured]
            values, similarities = [entry.value for entry in found], [entry.similarity for entry in found]
            readings = [entry.reading for entry in found] if trial.response else ()
            results.append(Result(trial, values, similarities, readings))
            caption = f"{control}={trial.value:g}"
            if caption not in captions:  # some values are measured twice
                captions.append(caption)
                for row, entry in zip(rows, found, strict=True):
                    row += entry.frames[1:] if row else entry.frames
        sheet = cv2.cvtColor(draw_sheet(captions, rows), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(out / f"{control}.jpg"), sheet, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        write_results(out, results, {}, names)

    refused = {}
    for name, value in UNSUPPORTED if mode == "human" else ():
        try:
            Animator(set_options(animator.config, {name: value}), models=animator.models)
        except ConfigError as error:
            refused[name] = error.sentence
    typer.echo(write_results(out, results, refused, names), nl=False)


if __name__ == "__main__":
    run_command(lambda: typer.run(measure_controls))
