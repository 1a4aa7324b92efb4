"""`joyvasa animate`: animate one portrait with a recording, a motion file or a driving video."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import (
    ConfigFile,
    Device,
    Models,
    Precision,
    Preset,
    Seed,
    Settings,
    merge_options,
    require_local,
)
from pipelines.cli.progress import ProgressDisplay

if TYPE_CHECKING:
    from joyvasa.animator import Animation

Image = Annotated[Path, typer.Argument(metavar="IMAGE", help="Picture or video of a face.", show_default=False)]
Audio = Annotated[
    Path | None,
    typer.Argument(
        metavar="[AUDIO]", help="Audio or video file with speech; not needed with --motion.", show_default=False
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Video file to write, *.mp4.")]
Motion = Annotated[
    Path | None,
    typer.Option("--motion", metavar="FILE|VIDEO", help="Motion file, or video to imitate.", show_default=False),
]
Mode = Annotated[str | None, typer.Option("--mode", help="Kind of portrait: human (default) or animal.")]


def animate_command(
    image: Image,
    audio: Audio = None,
    motion: Motion = None,
    output: Output = Path("out.mp4"),
    models: Models = None,
    mode: Mode = None,
    seed: Seed = None,
    device: Device = None,
    precision: Precision = None,
    preset: Preset = None,
    config: ConfigFile = None,
    settings: Settings = None,
) -> None:
    """Animate a portrait of a person or an animal with a recording, a motion file or a driving video."""
    from joyvasa.animator import Animator
    from joyvasa.options import AnimationConfig

    for path in (image, audio, motion, output):
        if path:
            require_local(path)
    flags = {"models": models, "mode": mode, "seed": seed, "device": device, "precision": precision}
    options = merge_options(AnimationConfig, preset=preset, config=config, settings=settings, flags=flags)
    animator = Animator(options)
    with ProgressDisplay() as progress:
        animation = animator.animate(image, audio, output, motion=motion, on_progress=progress.update)
    print_animation(animation, output)


def print_animation(animation: Animation, output: Path) -> None:
    """Print the size and length of a video, and its warnings on standard error."""
    for warning in animation.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(
        f"{output}: {animation.n_frames} frames, {animation.duration_s:.2f} s, "
        f"{animation.width}x{animation.height}, generated in {animation.elapsed_s:.1f} s"
    )
