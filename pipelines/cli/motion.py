"""`joyvasa motion`: motion files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Motion files: any portrait can play any of them.", no_args_is_help=True)


@app.callback()
def motion() -> None:
    """Motion files: any portrait can play any of them."""


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE.npz", help="Motion that LivePortrait saved.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to be written, such as wave.safetensors.")],
) -> None:
    """Turn LivePortrait's motion into a motion file of this program."""
    from joyvasa.motion.file import convert_motion

    sequence = convert_motion(file, out).motion
    n_frames, n_keypoints = sequence.expression.shape[:2]
    seconds = n_frames / sequence.frames_per_second
    typer.echo(
        f"{out}: {n_frames} frames, {seconds:.2f} s at {sequence.frames_per_second:g}/s, {n_keypoints} keypoints"
    )
