"""`joyvasa animate`: one portrait and one recording become one video."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import ConfigFile, Device, Models, Precision, Seed, Settings, merge_options
from pipelines.cli.progress import ProgressDisplay

if TYPE_CHECKING:
    from joyvasa.animator import Animation

Image = Annotated[Path, typer.Argument(help="Portrait: any picture.", show_default=False)]
Audio = Annotated[Path, typer.Argument(help="Recording: any file with sound.", show_default=False)]
Output = Annotated[Path, typer.Option("--output", "-o", help="Video to write, *.mp4.")]
Mode = Annotated[str | None, typer.Option("--mode", help="What the picture shows: human (default) or animal.")]


def animate(
    image: Image,
    audio: Audio,
    output: Output = Path("out.mp4"),
    models: Models = None,
    mode: Mode = None,
    seed: Seed = None,
    device: Device = None,
    precision: Precision = None,
    config: ConfigFile = None,
    settings: Settings = None,
) -> None:
    """Make one talking video from a portrait, of a person or an animal, and a recording."""
    from joyvasa.animator import AnimationConfig, Animator

    flags = {"models": models, "mode": mode, "seed": seed, "device": device, "precision": precision}
    animator = Animator(merge_options(AnimationConfig, config=config, settings=settings, flags=flags))
    with ProgressDisplay() as progress:
        animation = animator.animate(image, audio, output, on_progress=progress.update)
    print_animation(animation, output)


def print_animation(animation: Animation, output: Path) -> None:
    """Print what was made, and its warnings on standard error."""
    for warning in animation.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(
        f"{output}: {animation.n_frames} frames, {animation.duration_s:.2f} s, "
        f"{animation.width}x{animation.height}, made in {animation.elapsed_s:.1f} s"
    )
