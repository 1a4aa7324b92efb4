"""`joyvasa train-sample`: portraits and videos become the bundle `sample`, the built-in model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np

    from joyvasa.sample.networks.motion_extractor import KeypointFinder
    from joyvasa.sample.training.learning import Task
    from joyvasa.sample.training.pictures import Clip, Pictures, Portrait
    from joyvasa.training.config import TrainingConfig

Media = Annotated[Path, typer.Argument(help="Folder with portraits/ and, for real motion, videos/.")]
Work = Annotated[Path, typer.Option("--out", help="Folder for all that is made; what was stopped goes on.")]
Part = Annotated[str | None, typer.Option("--part", help="Do one part alone (default: all, in order).")]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="That train (default: all cores but one, which makes pictures).")
]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1 ...")]
Unseen = Annotated[list[Path] | None, typer.Option("--unseen", help="Folder like MEDIA that is only measured with.")]

# Steps of the parts that `learn` trains, and hours of synthetic speech: those of the bundle that is shipped.
STEPS = {"keypoints": 5500, "renderer": 22800, "painter": 3200, "sounds": 1500}
LEARNING_RATES = {"painter": 1e-3}  # others: the usual one
SPEECH_HOURS = 3.0
SPEECH, MOTION, BUNDLE, ENCODER = "speech", "motion", "sample", "sounds.safetensors"  # below the work folder
QUALITY = "quality"
LICENCE = "MIT"
LOG_EVERY = 20  # steps of the motion generator


def train_sample(
    media: Media,
    out: Work = Path("sample-training"),
    part: Part = None,
    threads: Threads = None,
    device: Device = "cpu",
    unseen: Unseen = None,
) -> None:
    """Train the built-in model again, from a folder of portraits, and measure it; resumable."""
    work = _Work(media, out, threads, device)
    parts: dict[str, Callable[[], None]] = {
        "keypoints": work.keypoints,
        "renderer": work.renderer,
        "painter": work.painter,
        "speech": work.speech,
        "sounds": work.sounds,
        "motion": work.motion,
        "bundle": work.bundle,
        "measure": lambda: work.measure(unseen or []),
    }
    if part is not None and part not in parts:
        raise typer.BadParameter(f"{part}: expected one of {', '.join(parts)}", param_hint="--part")
    for name in [part] if part else parts:
        typer.echo(f"{name} ...")
        parts[name]()


class _Work:
    def __init__(self, media: Path, out: Path, threads: int | None, device: str) -> None:
        self._media, self._out, self._threads, self._device = media, out, threads, device
        self._pictures: Pictures | None = None
        out.mkdir(parents=True, exist_ok=True)

    @property
    def pictures(self) -> Pictures:
        if self._pictures is None:
            from joyvasa.sample.training.pictures import Pictures

            self._pictures = Pictures(self._media, self._out / "pictures")
        return self._pictures

    def mean(self) -> np.ndarray:
        return self.pictures.mean()

    def renderer(self) -> None:
        from joyvasa.sample.training.renderer_task import RendererTask

        self._learn(RendererTask(*self._seen(), self.mean(), self._finder()))

    def painter(self) -> None:
        from joyvasa.sample.training.learning import averaged_weights
        from joyvasa.sample.training.painter_task import PainterTask

        trained = averaged_weights(self._out, "renderer")
        self._learn(PainterTask(self._seen()[0], self.mean(), self._finder(), trained))

    def keypoints(self) -> None:
        from joyvasa.sample.training.keypoints_task import KeypointsTask

        self._learn(KeypointsTask(*self._seen(), self.mean()))

    def speech(self) -> None:
        from joyvasa.sample.training.speech import write_speech
        from manifests.storage import open_storage

        card = write_speech(open_storage(str(self._out / SPEECH)), self.mean(), hours=SPEECH_HOURS)
        typer.echo(f"{card.hours:.1f} hours of speech")

    def sounds(self) -> None:
        from safetensors.torch import save_file

        from joyvasa.sample.training.sounds_task import SoundsTask
        from manifests.storage import open_storage

        compact = self._motion_config().network.compact_encoder
        assert compact
        task = SoundsTask(open_storage(str(self._out / SPEECH)), compact)
        self._learn(task)
        save_file(task.encoder.state_dict(), self._out / ENCODER)

    def motion(self) -> None:
        from pipelines.training import run as training
        from pipelines.training.files import RUN_FILE

        def listener(step: int, values: object) -> None:
            if step % LOG_EVERY == 0 and isinstance(values, dict):
                typer.echo(f"{step:>6}  loss {values['loss']:.4f}")

        run = self._out / MOTION
        if (run / RUN_FILE).exists():
            training.resume(run, listener=listener)
        else:
            training.start(str(self._out / SPEECH), run, self._motion_config(), listener=listener)

    def bundle(self) -> None:
        from joyvasa.sample.training.bundle import write_sample_bundle
        from joyvasa.training.export import load_trained
        from manifests.storage import open_storage

        trained = load_trained(open_storage(str(self._out / MOTION)))
        made = write_sample_bundle(self._out, trained, self.mean(), self._out / BUNDLE, licence=LICENCE)
        typer.echo(f"{made.folder}: {sum(file.stat().st_size for file in made.folder.iterdir()) / 1e6:.1f} MB")

    def measure(self, unseen: Sequence[Path]) -> None:
        import torch

        from joyvasa.sample.measurement.measurement import measure
        from pipelines.runs.resources import usable_cores

        torch.set_num_threads(self._threads or usable_cores())
        place = self._out / QUALITY
        rows = measure(str(self._out / BUNDLE), self._media, self.mean(), place, others=unseen, log=typer.echo)
        for row in rows:
            bar = {None: "", True: f" ({row.bar}: yes)", False: f" ({row.bar}: NO)"}[row.holds]
            typer.echo(f"{row.what}: {row.figure}{bar}")
        typer.echo(f"{place}/quality.md")

    def _motion_config(self) -> TrainingConfig:
        from joyvasa.config import load_config
        from joyvasa.sample import training as sample
        from joyvasa.training.config import TrainingConfig

        settings = [f"speech_encoder={self._out / ENCODER}", f"device={self._device}"]
        return load_config(TrainingConfig, file=Path(sample.__file__).parent / "motion.yaml", settings=settings)

    def _finder(self) -> KeypointFinder:
        from joyvasa.sample.networks.motion_extractor import CompactMotionExtractorConfig, KeypointFinder
        from joyvasa.sample.training.learning import averaged_weights

        finder = KeypointFinder(CompactMotionExtractorConfig())
        finder.load_state_dict(averaged_weights(self._out, "keypoints"))
        return finder

    def _seen(self) -> tuple[list[Portrait], list[Clip]]:
        """Portraits and videos that are not held out."""
        from joyvasa.sample.training.pictures import held_out

        portraits = [portrait for portrait in self.pictures.portraits() if not held_out(portrait.name)]
        clips = [clip for clip in self.pictures.clips() if not held_out(clip.name)]
        typer.echo(f"{len(portraits)} portraits, {len(clips)} videos")
        return portraits, clips

    def _learn(self, task: Task) -> None:
        from joyvasa.sample.training.learning import LearningConfig, learn
        from pipelines.runs.resources import usable_cores

        rate = LEARNING_RATES.get(task.name, LearningConfig.learning_rate)
        # A thread that shares its core with the process that makes pictures keeps the others waiting at every layer:
        # on two cores a step of two threads takes up to fourteen times as long as one of a single thread.
        threads = self._threads or max(1, usable_cores() - LearningConfig.producers)
        config = LearningConfig(steps=STEPS[task.name], learning_rate=rate, threads=threads, device=self._device)

        def log(step: int, figures: dict[str, float]) -> None:
            typer.echo(f"{step:>6}  " + "  ".join(f"{name} {value:.4f}" for name, value in figures.items()))

        learn(task, config, self._out, log)
