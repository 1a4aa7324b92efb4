"""`python -m joyvasa.training.sample`: trains the networks of the bundle `sample`; may be stopped and started again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from joyvasa.training.sample.keypoints_task import KeypointsTask
from joyvasa.training.sample.learning import LearningConfig, learn
from joyvasa.training.sample.pictures import Pictures, held_out
from joyvasa.training.sample.renderer_task import RendererTask

TASKS = {"renderer": RendererTask, "keypoints": KeypointsTask}

Media = Annotated[Path, typer.Argument(help="Folder with portraits/ and videos/.")]
Work = Annotated[Path, typer.Option("--out", help="Folder for checkpoints and for what was found in the media.")]
What = Annotated[str, typer.Option("--task", help=f"One of {', '.join(TASKS)}.")]


def main(
    media: Media,
    task: What,
    out: Work = Path("sample-training"),
    steps: int = 20_000,
    threads: int = 2,
    producers: int = 1,
    device: str = "cpu",
) -> None:
    """Train one task to the end."""
    pictures = Pictures(media, out / "pictures")
    portraits = [portrait for portrait in pictures.portraits() if not held_out(portrait.name)]
    clips = [clip for clip in pictures.clips() if not held_out(clip.name)]
    config = LearningConfig(steps=steps, threads=threads, producers=producers, device=device)

    def log(step: int, figures: dict[str, float]) -> None:
        typer.echo(f"{step:>6}  " + "  ".join(f"{name} {value:.4f}" for name, value in figures.items()))

    typer.echo(f"{len(portraits)} portraits, {len(clips)} videos")
    learn(TASKS[task](portraits, clips, pictures.mean()), config, out, log)


if __name__ == "__main__":
    typer.run(main)
