"""`joyvasa animate`: animate one portrait with one recording."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import ConfigFile, Device, Models, Precision, Seed, Settings, merge_options
from pipelines.cli.progress import ProgressDisplay

if TYPE_CHECKING:
    from joyvasa.animator import Animation

Image = Annotated[Path, typer.Argument(metavar="IMAGE", help="Picture of a face.", show_default=False)]
Audio = Annotated[Path, typer.Argument(metavar="AUDIO", help="Audio or video file with speech.", show_default=False)]
Output = Annotated[Path, typer.Option("--output", "-o", help="Video file to write, *.mp4.")]
Mode = Annotated[str | None, typer.Option("--mode", help="Kind of portrait: human (default) or animal.")]


def animate_command(
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
    """Animate a portrait of a person or an animal with a recording."""
    from joyvasa.animator import AnimationConfig, Animator

    flags = {"models": models, "mode": mode, "seed": seed, "device": device, "precision": precision}
    animator = Animator(merge_options(AnimationConfig, config=config, settings=settings, flags=flags))
    with ProgressDisplay() as progress:
        animation = animator.animate(image, audio, output, on_progress=progress.update)
    print_animation(animation, output)


def print_animation(animation: Animation, output: Path) -> None:
    """Print the size and length of a video, and its warnings on standard error."""
    for warning in animation.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(
        f"{output}: {animation.n_frames} frames, {animation.duration_s:.2f} s, "
        f"{animation.width}x{animation.height}, generated in {animation.elapsed_s:.1f} s"
    )
