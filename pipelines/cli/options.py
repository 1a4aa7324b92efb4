"""Options shared by several commands, their merging into a configuration, and `joyvasa options`, which prints them.

Help texts repeat defaults of the configuration classes, because importing the classes loads torch and would slow down
`--help`. A test checks that they agree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, TypeVar, get_type_hints

import typer

from joyvasa.errors import InputError
from joyvasa.runtime.json_text import format_json

T = TypeVar("T")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/")  # two slashes of an address are one in a path


def local_path(text: str | Path) -> Path:
    """Parse the argument of an option that takes local paths only.

    Raises:
        InputError: `path_empty` or `path_remote`.
    """
    if not str(text).strip():  # as a path it would be the working directory
        raise InputError("path_empty", f"found {text!r}; expected a file or folder: name one")
    if _ADDRESS.match(str(text)):
        sentence = (
            f"{text}: an address; expected a local file or folder: copy it, or use `generate`, which reads addresses"
        )
        raise InputError("path_remote", sentence)
    return Path(text)


ManifestPath = Annotated[
    str, typer.Argument(metavar="MANIFEST", help="Manifest in Parquet, CSV or JSON Lines, or a data set; path or URI.")
]
Run = Annotated[str, typer.Argument(metavar="RUN", help="Run folder; a path or URI.")]
RunOut = Annotated[str, typer.Option("--out", help="Run folder to create; a path or URI.", show_default=False)]
Models = Annotated[
    str | None, typer.Option("--models", help="Name or folder of a model bundle (default: sample).", metavar="BUNDLE")
]
Seed = Annotated[int | None, typer.Option("--seed", help="Random seed (default: 0).")]
Device = Annotated[str | None, typer.Option("--device", help="auto (default), cpu, cuda, cuda:1, mps, ...")]
Precision = Annotated[str | None, typer.Option("--precision", help="fp32 (default), fp16 or bf16.")]
Executor = Annotated[str | None, typer.Option("--executor", help="ray (default), or local to run in this process.")]
Preset = Annotated[
    str | None,
    typer.Option("--preset", help="joyvasa-cli or joyvasa-web: options of JoyVASA's inference.py or app.py."),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", help="YAML file with options, see `joyvasa options`.", show_default=False, parser=local_path
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Set an option, see `joyvasa options`; may be repeated.", metavar="KEY=VALUE"),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where", metavar="EXPR", help="Use rows that meet a condition, such as 'voice == \"anna\"'; may be repeated."
    ),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="Use N rows at most.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


def print_json(content: object) -> None:
    """Print plain values as one JSON document; numbers that JSON does not have become text."""
    typer.echo(format_json(content, indent=2))


def merge_options(
    kind: type[T],
    *,
    preset: str | None = None,
    config: Path | None = None,
    settings: Sequence[str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> T:
    """Build a configuration from its defaults, --preset, --config, --set and other options, in increasing precedence.

    Args:
        kind: configuration class, see `joyvasa.config.load_config`.
        preset: value of --preset; its options are those of `animation` where a run is configured.
        config: value of --config.
        settings: values of --set.
        flags: values of the other options, by the name of the setting; None if an option was not given.

    Raises:
        ConfigError: `preset_unknown`, `config_unreadable`, `config_unknown_option` or `config_invalid`; also if two
            values of --set are for one option.
    """
    from joyvasa.config import load_config
    from joyvasa.errors import ConfigError
    from joyvasa.presets import read_preset

    options = read_preset(preset) if preset else None
    if options and "animation" in get_type_hints(kind):
        options = {"animation": options}
    seen: dict[str, str] = {}
    for setting in settings or []:
        key = setting.partition("=")[0].strip()
        if seen.setdefault(key, setting) != setting:
            problem = f"--set {setting}: {key} is set twice, the other time by --set {seen[key]}"
            raise ConfigError("config_invalid", f"{problem}; expected one value: remove one of them")
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    return load_config(kind, preset=options, file=config, settings=settings or (), flags=given)


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
        print_json({**TypeAdapter(kind).json_schema(), "default": config_to_dict(resolved)})
    else:
        typer.echo(dump_config(resolved), nl=False)
