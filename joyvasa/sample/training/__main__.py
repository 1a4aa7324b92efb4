"""`python -m joyvasa.sample.training`: train the bundle `sample`, the built-in model, from portraits and videos."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from safetensors.torch import save_file

from joyvasa.config import load_config
from joyvasa.errors import JoyvasaError
from joyvasa.sample.measurement.measurement import measure
from joyvasa.sample.networks.motion_extractor import CompactMotionExtractorConfig, KeypointFinder
from joyvasa.sample.training.bundle import write_sample_bundle
from joyvasa.sample.training.folder import FolderFiles
from joyvasa.sample.training.keypoints_task import KeypointsTask
from joyvasa.sample.training.learning import LearningConfig, Task, averaged_weights, learn
from joyvasa.sample.training.painter_task import PainterTask
from joyvasa.sample.training.pictures import Clip, Pictures, Portrait, held_out
from joyvasa.sample.training.renderer_task import RendererTask
from joyvasa.sample.training.sounds_task import SoundsTask
from joyvasa.sample.training.speech import write_speech
from joyvasa.training.config import TrainingConfig
from joyvasa.training.dataset import Dataset
from joyvasa.training.export import load_trained
from joyvasa.training.trainer import StepValues, Trainer

Media = Annotated[Path, typer.Argument(help="Folder with portraits/ and, for real motion, videos/.")]
Work = Annotated[Path, typer.Option("--out", help="Folder for all results; a stopped training resumes there.")]
Part = Annotated[str | None, typer.Option("--part", help="Run one part alone (default: all, in order).")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Training threads (default: all cores but one, which makes pictures)."),
]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1 ...")]
Unseen = Annotated[list[Path] | None, typer.Option("--unseen", help="Folder like MEDIA that is only measured with.")]

# Steps of the parts that `learn` trains, and hours of synthetic speech: those of the bundle that is shipped.
STEPS = {"keypoints": 5500, "renderer": 22800, "painter": 3200, "sounds": 1500}
LEARNING_RATES = {"painter": 1e-3}  # others: the default of `LearningConfig`
SPEECH_HOURS = 3.0
SPEECH, MOTION, BUNDLE, ENCODER, QUALITY = "speech", "motion", "sample", "sounds.safetensors", "quality"  # below --out
LICENCE = "MIT"
LOG_EVERY = 20  # steps of the motion generator

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def train_sample(
    media: Media,
    out: Work = Path("sample-training"),
    part: Part = None,
    threads: Threads = None,
    device: Device = "cpu",
    unseen: Unseen = None,
) -> None:
    """Train the built-in model again, from a folder of portraits, and measure it; resumable."""
    recipe = Recipe(media, out, threads, device)
    parts: dict[str, Callable[[], None]] = {
        "keypoints": recipe.train_keypoints,
        "renderer": recipe.train_renderer,
        "painter": recipe.train_painter,
        "speech": recipe.write_speech,
        "sounds": recipe.train_sounds,
        "motion": recipe.train_motion,
        "bundle": recipe.write_bundle,
        "measure": lambda: recipe.measure(unseen or []),
    }
    if part is not None and part not in parts:
        raise typer.BadParameter(f"{part}: expected one of {', '.join(parts)}", param_hint="--part")
    for name in [part] if part else parts:
        typer.echo(f"{name} ...")
        parts[name]()


class Recipe:
    """The parts of the training, each of which resumes from what lies in the work folder.

    Args:
        media: folder with portraits and videos.
        out: the work folder.
        threads: number of training threads; None for all cores but those that make pictures.
        device: device that trains.
    """

    def __init__(self, media: Path, out: Path, threads: int | None, device: str) -> None:
        self._media, self._out, self._threads, self._device = media, out, threads, device
        self._pictures = Pictures(media, out / "pictures")
        self._speech, self._motion = FolderFiles(out / SPEECH), FolderFiles(out / MOTION)
        out.mkdir(parents=True, exist_ok=True)

    def train_keypoints(self) -> None:
        """Train M, which finds keypoints."""
        self._learn(KeypointsTask(*self._seen(), self._mean))

    def train_renderer(self) -> None:
        """Train F, W and G together."""
        self._learn(RendererTask(*self._seen(), self._mean, self._finder()))

    def train_painter(self) -> None:
        """Train G alone, at mouths and eyes."""
        trained = averaged_weights(self._out, "renderer")
        self._learn(PainterTask(self._seen()[0], self._mean, self._finder(), trained))

    def write_speech(self) -> None:
        """Write the data set of synthetic speakers."""
        card = write_speech(self._speech, self._mean, hours=SPEECH_HOURS)
        typer.echo(f"{card.hours:.1f} hours of speech")

    def train_sounds(self) -> None:
        """Train the sound encoder."""
        compact = self._motion_config().network.compact_encoder
        assert compact
        task = SoundsTask(self._speech, compact)
        self._learn(task)
        save_file(task.encoder.state_dict(), self._out / ENCODER)

    def train_motion(self) -> None:
        """Train the motion generator."""

        def log(step: int, values: StepValues) -> None:
            if step % LOG_EVERY == 0:
                typer.echo(f"{step:>6}  loss {values['loss']:.4f}")

        Trainer(self._motion_config(), Dataset(self._speech), self._motion, listener=log).run()

    def write_bundle(self) -> None:
        """Write the bundle."""
        trained = load_trained(self._motion)
        made = write_sample_bundle(self._out, trained, self._mean, self._out / BUNDLE, licence=LICENCE)
        typer.echo(f"{made.folder}: {sum(file.stat().st_size for file in made.folder.iterdir()) / 1e6:.1f} MB")

    def measure(self, unseen: Sequence[Path]) -> None:
        """Measure the bundle on what training never saw, and in `unseen`, folders like the media folder."""
        torch.set_num_threads(self._threads or _usable_cores())
        place = self._out / QUALITY
        rows = measure(str(self._out / BUNDLE), self._media, self._mean, place, others=unseen, log=typer.echo)
        for row in rows:
            bar = {None: "", True: f" ({row.bar}: yes)", False: f" ({row.bar}: NO)"}[row.holds]
            typer.echo(f"{row.what}: {row.figure}{bar}")
        typer.echo(f"{place}/quality.md")

    @cached_property
    def _mean(self) -> np.ndarray:
        return self._pictures.mean()

    def _motion_config(self) -> TrainingConfig:
        settings = [f"speech_encoder={self._out / ENCODER}", f"device={self._device}"]
        config = load_config(TrainingConfig, file=Path(__file__).with_name("motion.yaml"), settings=settings)
        return config.for_workers(1)

    def _finder(self) -> KeypointFinder:
        finder = KeypointFinder(CompactMotionExtractorConfig())
        finder.load_state_dict(averaged_weights(self._out, "keypoints"))
        return finder

    def _seen(self) -> tuple[list[Portrait], list[Clip]]:
        """Return the portraits and videos that are not held out."""
        portraits = [portrait for portrait in self._pictures.portraits() if not held_out(portrait.name)]
        clips = [clip for clip in self._pictures.clips() if not held_out(clip.name)]
        typer.echo(f"{len(portraits)} portraits, {len(clips)} videos")
        return portraits, clips

    def _learn(self, task: Task) -> None:
        rate = LEARNING_RATES.get(task.name, LearningConfig.learning_rate)
        # A thread that shares its core with the process that makes pictures keeps the others waiting at every layer:
        # on two cores a step of two threads takes up to fourteen times as long as one of a single thread.
        threads = self._threads or max(1, _usable_cores() - LearningConfig.producers)
        config = LearningConfig(steps=STEPS[task.name], learning_rate=rate, threads=threads, device=self._device)

        def log(step: int, figures: dict[str, float]) -> None:
            typer.echo(f"{step:>6}  " + "  ".join(f"{name} {value:.4f}" for name, value in figures.items()))

        learn(task, config, self._out, log)


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    """Run the command line; an error that a user can act on becomes one sentence and exit code 1."""
    try:
        app()
    except JoyvasaError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
