"""`joyvasa animate`: animate one portrait with one recording."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from joyvasa.errors import InputError
from pipelines.cli.options import ConfigFile, Device, Models, Precision, Preset, Seed, Settings, merge_options
from pipelines.cli.progress import ProgressDisplay

if TYPE_CHECKING:
    from joyvasa.animator import Animation

Image = Annotated[Path, typer.Argument(metavar="IMAGE", help="Picture of a face.", show_default=False)]
Audio = Annotated[Path, typer.Argument(metavar="AUDIO", help="Audio or video file with speech.", show_default=False)]
Output = Annotated[Path, typer.Option("--output", "-o", help="Video file to write, *.mp4.")]
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/")  # two slashes of an address are one in a path
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
    preset: Preset = None,
    config: ConfigFile = None,
    settings: Settings = None,
) -> None:
    """Animate a portrait of a person or an animal with a recording."""
    from joyvasa.animator import AnimationConfig, Animator

    for path in (image, audio, output):
        _require_local(path)
    flags = {"models": models, "mode": mode, "seed": seed, "device": device, "precision": precision}
    options = merge_options(AnimationConfig, preset=preset, config=config, settings=settings, flags=flags)
    animator = Animator(options)
    with ProgressDisplay() as progress:
        animation = animator.animate(image, audio, output, on_progress=progress.update)
    print_animation(animation, output)


def _require_local(path: Path) -> None:
    if _ADDRESS.match(str(path)):
        raise InputError(
            "path_remote", f"{path}: an address; expected a local file: download it, or use a manifest with `generate`"
        )


def print_animation(animation: Animation, output: Path) -> None:
    """Print the size and length of a video, and its warnings on standard error."""
    for warning in animation.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(
        f"{output}: {animation.n_frames} frames, {animation.duration_s:.2f} s, "
        f"{animation.width}x{animation.height}, generated in {animation.elapsed_s:.1f} s"
    )
