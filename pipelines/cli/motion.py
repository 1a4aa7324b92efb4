"""`joyvasa animate` and `joyvasa motion`: animate one portrait; read motion from videos, and convert motion files."""

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
    local_path,
    merge_options,
)
from pipelines.cli.progress import ProgressDisplay

if TYPE_CHECKING:
    from joyvasa.motion.sequence import MotionSequence

Image = Annotated[
    Path, typer.Argument(metavar="IMAGE", help="Picture or video of a face.", show_default=False, parser=local_path)
]
Audio = Annotated[
    Path | None,
    typer.Argument(
        metavar="AUDIO",
        help="Audio or video file with speech; not needed with --motion.",
        show_default=False,
        parser=local_path,
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Video file to write, *.mp4.", parser=local_path)]
Motion = Annotated[
    Path | None,
    typer.Option(
        "--motion",
        metavar="FILE|VIDEO",
        help="Motion file, or video to imitate.",
        show_default=False,
        parser=local_path,
    ),
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
    from joyvasa.animator import Animator, check_paths
    from joyvasa.options import AnimationConfig

    flags = {"models": models, "mode": mode, "seed": seed, "device": device, "precision": precision}
    options = merge_options(AnimationConfig, preset=preset, config=config, settings=settings, flags=flags)
    check_paths(image, audio, output, motion=motion)
    animator = Animator(options)
    with ProgressDisplay() as progress:
        animation = animator.animate(image, audio, output, motion=motion, on_progress=progress.update)
    for warning in animation.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(
        f"{output}: {animation.n_frames} frames, {animation.duration_s:.2f} s, "
        f"{animation.width}x{animation.height}, generated in {animation.elapsed_s:.1f} s"
    )


app = typer.Typer(
    help="Read motion from videos and convert motion files, which can drive any portrait.", no_args_is_help=True
)


@app.command("extract")
def extract_motion_command(
    video: Annotated[
        Path, typer.Argument(metavar="VIDEO", help="Video of a talking person.", show_default=False, parser=local_path)
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Motion file to write, *.safetensors.", parser=local_path)
    ] = Path("motion.safetensors"),
    face: Annotated[
        int | None, typer.Option("--face", metavar="N", help="Face to follow; 0 (default) is the largest.")
    ] = None,
    sound: Annotated[
        Path | None,
        typer.Option(
            "--sound",
            metavar="FILE",
            help="Also write the sound, such as speech.wav.",
            show_default=False,
            parser=local_path,
        ),
    ] = None,
    models: Models = None,
    device: Device = None,
    precision: Precision = None,
    config: ConfigFile = None,
    settings: Settings = None,
) -> None:
    """Read the motion of one face in a video."""
    from joyvasa.media.ffmpeg import check_media
    from joyvasa.media.soundtrack import check_sound, save_sound
    from joyvasa.models import Models as LoadedModels
    from joyvasa.motion.file import check_motion_path, save_motion
    from joyvasa.options import AnimationConfig
    from joyvasa.runtime.files import check_writable

    flags = {"models": models, "device": device, "precision": precision, "driving_video.face_index": face}
    options = merge_options(AnimationConfig, config=config, settings=settings, flags=flags)
    check_media(video, "video")
    check_motion_path(output, video)
    if sound:
        check_writable(sound, [video])
        check_sound(video, sound)

    loaded = LoadedModels(options)
    with ProgressDisplay() as progress:
        motion = loaded.build_video_reader().read(video, progress.update)
    for warning in (*loaded.warnings, *(warning.sentence for warning in motion.warnings)):
        print(f"warning: {warning}", file=sys.stderr)
    save_motion(output, motion.file.motion, motion.file.provenance)
    print_motion(output, motion.file.motion)
    if sound:
        save_sound(video, sound)
        typer.echo(f"{sound}: the sound of {video.name}")


@app.command("convert")
def convert_motion_command(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Motion file; LivePortrait's are *.npz and *.pkl.", parser=local_path)
    ],
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="Motion file to write: *.safetensors, or *.npz or *.pkl for LivePortrait.",
            parser=local_path,
        ),
    ],
) -> None:
    """Convert motion files from and to LivePortrait's formats."""
    from joyvasa.motion.file import FOREIGN_WRITERS, SUFFIX, check_motion_path, convert_motion

    check_motion_path(out, file, (SUFFIX, *FOREIGN_WRITERS))
    print_motion(out, convert_motion(file, out).motion)


def print_motion(path: Path, motion: MotionSequence) -> None:
    """Print the length, the rate and the number of keypoints of a motion file."""
    n_frames, n_keypoints = motion.expression.shape[:2]
    seconds = n_frames / motion.frames_per_second
    typer.echo(f"{path}: {n_frames} frames, {seconds:.2f} s at {motion.frames_per_second:g}/s, {n_keypoints} keypoints")
