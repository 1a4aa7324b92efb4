"""`joyvasa motion`: convert motion files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Convert motion files, which can drive any portrait.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Convert motion files, which can drive any portrait."""


@app.command("convert")
def convert_motion_command(
    file: Annotated[Path, typer.Argument(metavar="FILE.npz", help="Motion file of LivePortrait.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Motion file to write, such as wave.safetensors.")],
) -> None:
    """Convert a motion file of LivePortrait."""
    from joyvasa.motion.file import convert_motion

    sequence = convert_motion(file, out).motion
    n_frames, n_keypoints = sequence.expression.shape[:2]
    seconds = n_frames / sequence.frames_per_second
    typer.echo(
        f"{out}: {n_frames} frames, {seconds:.2f} s at {sequence.frames_per_second:g}/s, {n_keypoints} keypoints"
    )
