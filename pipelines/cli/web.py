"""`joyvasa web`: a page to try one pair on, and to look at runs."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import ConfigFile, Models, Precision, Settings, merge_options

Root = Annotated[Path, typer.Argument(metavar="[ROOT]", help="Folder below which runs are shown.")]
Host = Annotated[str, typer.Option("--host", help="Address to listen on; any but a loopback one wants a password.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 takes one that is free.")]
Devices = Annotated[
    list[str] | None,
    typer.Option("--device", help="auto (default), cpu, cuda, cuda:1 ...; repeat it to work on several."),
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file", help="File whose first line is the password; else it is taken from JOYVASA_WEB_PASSWORD."
    ),
]


def web(
    root: Root = Path(),
    models: Models = None,
    device: Devices = None,
    precision: Precision = None,
    host: Host = "127.0.0.1",
    port: Port = 7862,
    password_file: PasswordFile = None,
    config: ConfigFile = None,
    settings: Settings = None,
) -> None:
    """Serve a page to try one pair on, and to look at runs. Needs the extra web."""
    from joyvasa.errors import EnvironmentFault
    from joyvasa.models import AnimationConfig
    from pipelines.web.password import read_password, require_password

    if find_spec("gradio") is None:
        raise EnvironmentFault(
            "gradio_missing", "the package gradio is not installed: run `pip install 'joyvasa[web]'`"
        )
    flags = {"models": models, "precision": precision}
    animation = merge_options(AnimationConfig, config=config, settings=settings, flags=flags)
    password = read_password(password_file)
    require_password(host, password)

    from pipelines.web.server import WebConfig, serve

    devices = tuple(device or [animation.device])
    serve(
        WebConfig(root=str(root), animation=animation, devices=devices, host=host, port=port, password=password),
    )
