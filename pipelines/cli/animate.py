"""`joyvasa animate`: one portrait and one recording become one video."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from joyvasa.animator import Animation, AnimationConfig, Progress

Image = Annotated[Path, typer.Argument(help="Portrait: any picture.", show_default=False)]
Audio = Annotated[Path, typer.Argument(help="Recording: any file with sound.", show_default=False)]
Output = Annotated[Path, typer.Option("--output", "-o", help="Video to write, *.mp4.")]
Models = Annotated[str | None, typer.Option("--models", help="Model bundle: a name or a folder (default: sample).")]
Mode = Annotated[str | None, typer.Option("--mode", help="What the picture shows: human (default) or animal.")]
Seed = Annotated[
    int | None, typer.Option("--seed", help="Of the motion (default: 0); the same seed gives the same video.")
]
Device = Annotated[str | None, typer.Option("--device", help="auto (default), cpu, cuda, cuda:1, mps ...")]
Precision = Annotated[str | None, typer.Option("--precision", help="fp32 (default), fp16 or bf16.")]
File = Annotated[
    Path | None,
    typer.Option("--config", help="YAML file with options, as `joyvasa options` prints them.", show_default=False),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="One option, key=value; may be repeated: --set crop.scale=2.0", metavar="KEY=VALUE"),
]


def animate(
    image: Image,
    audio: Audio,
    output: Output = Path("out.mp4"),
    models: Models = None,
    mode: Mode = None,
    seed: Seed = None,
    device: Device = None,
    precision: Precision = None,
    config: File = None,
    settings: Settings = None,
) -> None:
    """Make one talking video from a portrait, of a person or an animal, and a recording."""
    from joyvasa.animator import AnimationConfig
    from joyvasa.config import load_config

    flags = {"models": models, "mode": mode, "seed": seed, "device": device, "precision": precision}
    given = [f"{key}={json.dumps(value)}" for key, value in flags.items() if value is not None]
    resolved = load_config(AnimationConfig, file=config, settings=[*(settings or []), *given])
    report(run(resolved, image, audio, output), output)


def options(config: File = None, settings: Settings = None) -> None:
    """Print every option of `animate` as YAML, ready for --config."""
    from joyvasa.animator import AnimationConfig
    from joyvasa.config import dump_config, load_config

    sys.stdout.write(dump_config(load_config(AnimationConfig, file=config, settings=settings or [])))


def run(config: AnimationConfig, image: Path, audio: Path, output: Path) -> Animation:
    """Animates one pair with a progress bar on a terminal."""
    from joyvasa.animator import Animator

    animator = Animator(config)
    with progress_bar() as progress:
        return animator.animate(image, audio, output, on_progress=progress)


def report(animation: Animation, output: Path) -> None:
    """Prints what was made, warnings first."""
    for warning in animation.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(
        f"{output}: {animation.n_frames} frames, {animation.duration_s:.2f} s, "
        f"{animation.width}x{animation.height}, made in {animation.elapsed_s:.1f} s"
    )


class progress_bar:  # noqa: N801 (used as a function)
    """A context manager that shows the steps of an animation on a terminal; silent elsewhere."""

    def __enter__(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        console = Console(stderr=True)
        self._bars = Bars(
            TextColumn("{task.description:8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bars.start()
        self._tasks: dict[str, int] = {}
        return self._show

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def _show(self, step: str, done: int, total: int) -> None:
        from rich.progress import TaskID

        if step not in self._tasks:
            self._tasks[step] = self._bars.add_task(step, total=total)
        self._bars.update(TaskID(self._tasks[step]), completed=done, total=total)
