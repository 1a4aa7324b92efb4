"""`joyvasa web`: serve a page to animate portraits and browse runs."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import ConfigFile, Models, Precision, Settings, local_path, merge_options

Root = Annotated[Path, typer.Argument(metavar="ROOT", help="Folder with the runs to show.", parser=local_path)]
Host = Annotated[str, typer.Option("--host", help="Address to listen on; non-loopback addresses require a password.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 selects a free one.")]
Devices = Annotated[
    list[str] | None,
    typer.Option("--device", help="auto (default), cpu, cuda, cuda:1, ...; may be repeated to use several devices."),
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        help="File with the password in its first line (default: environment variable JOYVASA_WEB_PASSWORD).",
        parser=local_path,
    ),
]


def web_command(
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
    """Serve a page to animate portraits and browse runs. Requires the extra `web`."""
    from joyvasa.errors import EnvironmentFault, install_command
    from joyvasa.options import AnimationConfig
    from pipelines.web.confinement import RunsRoot
    from pipelines.web.password import read_password, require_password

    if find_spec("gradio") is None:
        raise EnvironmentFault("gradio_missing", f"the package gradio is not installed: {install_command('web')}")
    flags = {"models": models, "precision": precision}
    animation = merge_options(AnimationConfig, config=config, settings=settings, flags=flags)
    password = read_password(password_file)
    require_password(host, password)
    RunsRoot(str(root))  # reports a missing folder before Gradio is imported, which takes seconds

    from pipelines.web.server import WebConfig, serve_page

    devices = tuple(device or [animation.device])
    serve_page(
        WebConfig(root=str(root), animation=animation, devices=devices, host=host, port=port, password=password),
    )
