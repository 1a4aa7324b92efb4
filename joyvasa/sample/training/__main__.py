"""`python -m joyvasa.sample.training`: train the built-in bundle `sample` from portraits and videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from safetensors.torch import save_file

from joyvasa.config import load_config
from joyvasa.runtime.device import count_usable_cores
from joyvasa.sample.measurement.measurement import measure_bundle
from joyvasa.sample.networks.motion_extractor import CompactMotionExtractorConfig, KeypointFinder
from joyvasa.sample.training.animal_media import load_animals
from joyvasa.sample.training.animals_task import AnimalsTask, load_backbone
from joyvasa.sample.training.bundle import write_sample_bundle
from joyvasa.sample.training.command import run_command
from joyvasa.sample.training.corpus import write_speech_dataset
from joyvasa.sample.training.keypoints_task import KeypointsTask
from joyvasa.sample.training.painter_task import PainterTask
from joyvasa.sample.training.renderer_task import RendererTask
from joyvasa.sample.training.sounds_task import SoundsTask
from joyvasa.sample.training.training_loop import LearningConfig, TrainingTask, load_averaged_weights, train_task
from joyvasa.sample.training.training_media import TrainingClip, TrainingMedia, TrainingPortrait, is_held_out
from joyvasa.training.config import TrainingConfig
from joyvasa.training.dataset import Dataset
from joyvasa.training.export import load_trained_generator
from joyvasa.training.trainer import StepValues, Trainer
from manifests.storage import open_storage

Media = Annotated[Path, typer.Argument(help="Folder with portraits/, animals/ and, for real motion, videos/.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for all results; an interrupted training resumes from it.")]
Part = Annotated[str | None, typer.Option("--part", help="Run a single part (default: all, in order).")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Training threads (default: all cores but one, which renders pictures)."),
]
Device = Annotated[str, typer.Option("--device", help="Training device: cpu, cuda, cuda:1, ...")]
Unseen = Annotated[
    list[Path] | None, typer.Option("--unseen", help="Folder like MEDIA that is used for measurement only.")
]

# Steps of the parts that `train_task` trains, and hours of synthetic speech, as for the shipped bundle.
STEPS = {"keypoints": 5500, "renderer": 22800, "painter": 3200, "sounds": 1500, "animals": 1500}
LEARNING_RATES = {"painter": 1e-3, "animals": 1e-3}  # other parts: the default of `LearningConfig`
SPEECH_HOURS = 3.0
SPEECH, MOTION, BUNDLE, ENCODER, QUALITY = "speech", "motion", "sample", "sounds.safetensors", "quality"  # below --out
LOG_EVERY = 20  # steps of the motion generator

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def train_sample(
    media: Media,
    out: Out = Path("sample-training"),
    part: Part = None,
    threads: Threads = None,
    device: Device = "cpu",
    unseen: Unseen = None,
) -> None:
    """Train the built-in model from a folder of portraits, and measure it; resumable."""
    recipe = Recipe(media, out, threads, device)
    parts: dict[str, Callable[[], None]] = {
        "keypoints": recipe.train_keypoints,
        "renderer": recipe.train_renderer,
        "painter": recipe.train_painter,
        "speech": recipe.write_speech_dataset,
        "sounds": recipe.train_sounds,
        "motion": recipe.train_motion,
        "animals": recipe.train_animals,
        "bundle": recipe.write_bundle,
        "measure": lambda: recipe.measure_bundle(unseen or []),
    }
    if part is not None and part not in parts:
        raise typer.BadParameter(f"{part}: expected one of {', '.join(parts)}", param_hint="--part")
    for name in [part] if part else parts:
        typer.echo(f"{name} ...")
        parts[name]()


class Recipe:
    """Parts of the training; each resumes from the files in the output folder."""

    def __init__(self, media: Path, out: Path, threads: int | None, device: str) -> None:
        self._media, self._out, self._threads, self._device = media, out, threads, device
        self._training_media = TrainingMedia(media, out / "pictures")
        self._speech, self._motion = open_storage(out / SPEECH), open_storage(out / MOTION)
        out.mkdir(parents=True, exist_ok=True)

    def train_keypoints(self) -> None:
        """Train M, the motion extractor."""
        self._train(KeypointsTask(*self._load_media(), self._mean_head))

    def train_renderer(self) -> None:
        """Train F, W and G (appearance, warping, generator) together."""
        self._train(RendererTask(*self._load_media(), self._mean_head, self._load_finder()))

    def train_painter(self) -> None:
        """Fine-tune G at mouths and eyes."""
        trained = load_averaged_weights(self._out, "renderer")
        self._train(PainterTask(self._load_media()[0], self._mean_head, self._load_finder(), trained))

    def write_speech_dataset(self) -> None:
        """Write the data set of synthetic speakers."""
        card = write_speech_dataset(self._speech, self._mean_head, hours=SPEECH_HOURS)
        typer.echo(f"{card.hours:.1f} hours of speech")

    def train_sounds(self) -> None:
        """Train the sound encoder."""
        encoder = self._motion_config().network.compact_encoder
        assert encoder
        task = SoundsTask(self._speech, encoder)
        self._train(task)
        save_file(task.encoder.state_dict(), self._out / ENCODER)

    def train_motion(self) -> None:
        """Train the motion generator."""

        def log(step: int, values: StepValues) -> None:
            if step % LOG_EVERY == 0:
                typer.echo(f"{step:>6}  loss {values['loss']:.4f}")

        Trainer(self._motion_config(), Dataset(self._speech), self._motion, on_step=log).run()

    def train_animals(self) -> None:
        """Train the detector and the landmarks of animals."""
        animals = [animal for animal in load_animals(self._media / "animals") if not animal.held_out]
        typer.echo(f"{len(animals)} pictures of animals")
        self._train(AnimalsTask(animals, self._load_media()[0], load_backbone()))

    def write_bundle(self) -> None:
        """Write the bundle `sample` from all trained parts."""
        trained = load_trained_generator(self._motion)
        bundle = write_sample_bundle(self._out, trained, self._mean_head, self._out / BUNDLE)
        typer.echo(f"{bundle.folder}: {sum(file.stat().st_size for file in bundle.folder.iterdir()) / 1e6:.1f} MB")

    def measure_bundle(self, unseen: Sequence[Path]) -> None:
        """Measure the bundle on held-out files of the media folder and on all files of `unseen`."""
        torch.set_num_threads(self._threads or count_usable_cores())
        folder = self._out / QUALITY
        rows = measure_bundle(
            str(self._out / BUNDLE), self._media, self._mean_head, folder, others=unseen, log=typer.echo
        )
        for row in rows:
            bar = {None: "", True: f" ({row.bar}: yes)", False: f" ({row.bar}: NO)"}[row.holds]
            typer.echo(f"{row.what}: {row.figure}{bar}")
        typer.echo(f"{folder}/quality.md")

    @cached_property
    def _mean_head(self) -> np.ndarray:
        return self._training_media.mean_head()

    def _motion_config(self) -> TrainingConfig:
        settings = [f"speech_encoder={self._out / ENCODER}", f"device={self._device}"]
        config = load_config(TrainingConfig, file=Path(__file__).with_name("motion.yaml"), settings=settings)
        return config.for_workers(1)

    def _load_finder(self) -> KeypointFinder:
        finder = KeypointFinder(CompactMotionExtractorConfig())
        finder.load_state_dict(load_averaged_weights(self._out, "keypoints"))
        return finder

    def _load_media(self) -> tuple[list[TrainingPortrait], list[TrainingClip]]:
        """Return the portraits and videos that are not held out."""
        portraits = [portrait for portrait in self._training_media.portraits() if not is_held_out(portrait.name)]
        clips = [clip for clip in self._training_media.clips() if not is_held_out(clip.name)]
        typer.echo(f"{len(portraits)} portraits, {len(clips)} videos")
        return portraits, clips

    def _train(self, task: TrainingTask) -> None:
        rate = LEARNING_RATES.get(task.name, LearningConfig.learning_rate)
        # A thread that shares its core with the process that renders pictures delays all threads at every layer: on
        # two cores a step with two threads takes up to fourteen times as long as with one.
        threads = self._threads or max(1, count_usable_cores() - LearningConfig.producers)
        config = LearningConfig(steps=STEPS[task.name], learning_rate=rate, threads=threads, device=self._device)

        def log(step: int, figures: dict[str, float]) -> None:
            typer.echo(f"{step:>6}  " + "  ".join(f"{name} {value:.4f}" for name, value in figures.items()))

        train_task(task, config, self._out, log)


if __name__ == "__main__":
    run_command(app)
