"""`joyvasa options`: every option that --config and --set of a command take."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Annotated

import typer

from pipelines.cli.options import ConfigFile, Settings, merge_options

ANIMATION, RUN = ("joyvasa.models", "AnimationConfig"), ("pipelines.runs.config", "RunConfig")
CLASSES = {
    "animate": ANIMATION,
    "generate": RUN,
    "evaluate": RUN,
    "prepare": RUN,
    "plan": RUN,
    "train": ("joyvasa.training.config", "TrainingConfig"),
    "bench": RUN,
    "web": ANIMATION,
}  # module and name: importing them takes seconds

Command = Annotated[str, typer.Argument(help=f"Command with options: {', '.join(CLASSES)}.")]
Schema = Annotated[bool, typer.Option("--schema", help="Print types, choices and values as JSON Schema.")]


def print_options(
    command: Command = "animate", schema: Schema = False, config: ConfigFile = None, settings: Settings = None
) -> None:
    """Print every option of a command as YAML, ready for --config."""
    if command not in CLASSES:
        raise typer.BadParameter(f"{command}: expected one of {', '.join(CLASSES)}", param_hint="COMMAND")
    from pydantic import TypeAdapter

    from joyvasa.config import dump_config, plain

    module, name = CLASSES[command]
    kind = getattr(import_module(module), name)
    resolved = merge_options(kind, config=config, settings=settings)
    if schema:
        typer.echo(json.dumps({**TypeAdapter(kind).json_schema(), "default": plain(resolved)}, indent=2))
    else:
        typer.echo(dump_config(resolved), nl=False)
