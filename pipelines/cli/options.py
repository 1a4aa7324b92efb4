"""Options that several commands share, and the one way in which they become a configuration.

Help texts name defaults of configuration classes, which are not imported here: they load torch, and `--help` is quick.
A test holds that both agree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer

T = TypeVar("T")

ManifestPath = Annotated[str, typer.Argument(metavar="MANIFEST", help="Parquet, CSV or JSON Lines; a path or URI.")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="Run folder; a path or URI.")]
RunOut = Annotated[str, typer.Option("--out", help="Run folder to make; a path or URI.", show_default=False)]
Models = Annotated[str | None, typer.Option("--models", help="Model bundle: a name or a folder (default: sample).")]
Seed = Annotated[int | None, typer.Option("--seed", help="Random seed (default: 0); the same seed, the same result.")]
Device = Annotated[str | None, typer.Option("--device", help="auto (default), cpu, cuda, cuda:1, mps ...")]
Precision = Annotated[str | None, typer.Option("--precision", help="fp32 (default), fp16 or bf16.")]
Executor = Annotated[str | None, typer.Option("--executor", help="ray (default) or local, in this process.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="YAML file with options, as `joyvasa options COMMAND` prints.", show_default=False),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="One of the options that `joyvasa options COMMAND` prints; may be repeated.", metavar="KEY=VALUE"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]


def merge_options(
    kind: type[T],
    *,
    config: Path | None = None,
    settings: Sequence[str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> T:
    """Build a configuration from its defaults, --config, --set and the other options; later ones win.

    Args:
        kind: configuration class, see `joyvasa.config.load_config`.
        config: value of --config.
        settings: values of --set.
        flags: values of the other options, by the name of the setting; None where the option was not given.

    Raises:
        ConfigError: `config_unreadable`, `config_unknown_option` or `config_invalid`.
    """
    from joyvasa.config import load_config

    given = [f"{name}={json.dumps(value)}" for name, value in (flags or {}).items() if value is not None]
    return load_config(kind, file=config, settings=[*(settings or ()), *given])
