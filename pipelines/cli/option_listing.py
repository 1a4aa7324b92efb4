"""`joyvasa options`: print the options of a command for --config and --set."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Annotated

import typer

from pipelines.cli.options import ConfigFile, Settings, merge_options

ANIMATION, RUN = ("joyvasa.options", "AnimationConfig"), ("pipelines.runs.config", "RunConfig")
CLASSES = {
    "animate": ANIMATION,
    "generate": RUN,
    "evaluate": RUN,
    "prepare": RUN,
    "plan": RUN,
    "train": ("joyvasa.training.config", "TrainingConfig"),
    "bench": RUN,
    "web": ANIMATION,
}  # module and name, because importing the classes is slow

Command = Annotated[str, typer.Argument(metavar="COMMAND", help=f"One of {', '.join(CLASSES)}.")]
Schema = Annotated[bool, typer.Option("--schema", help="Print types, choices and values as JSON Schema.")]


def options_command(
    command: Command = "animate", schema: Schema = False, config: ConfigFile = None, settings: Settings = None
) -> None:
    """Print all options of a command as YAML, ready for --config."""
    if command not in CLASSES:
        raise typer.BadParameter(f"{command}: expected one of {', '.join(CLASSES)}", param_hint="COMMAND")
    from pydantic import TypeAdapter

    from joyvasa.config import config_to_dict, dump_config

    module, name = CLASSES[command]
    kind = getattr(import_module(module), name)
    resolved = merge_options(kind, config=config, settings=settings)
    if schema:
        typer.echo(json.dumps({**TypeAdapter(kind).json_schema(), "default": config_to_dict(resolved)}, indent=2))
    else:
        typer.echo(dump_config(resolved), nl=False)
