"""`joyvasa demo`: the bundled portrait speaks; shows that everything works."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import manifests

EXAMPLES = Path(manifests.__file__).parent / "examples"
DEMO_BUNDLE = "random"  # needs no download

Output = Annotated[Path, typer.Option("--output", "-o", help="Video to write, *.mp4.")]


def demo(output: Output = Path("demo.mp4")) -> None:
    """Animate the bundled portrait with the bundled recording."""
    from joyvasa.animator import AnimationConfig
    from pipelines.animate import report, run

    config = AnimationConfig(models=DEMO_BUNDLE)
    report(run(config, EXAMPLES / "portrait.jpg", EXAMPLES / "speech.flac", output), output)
