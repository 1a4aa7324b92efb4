"""The web server: the page, videos and files of runs, behind the guard."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import fastapi
import gradio as gr
import uvicorn
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.types import ASGIApp

from joyvasa.animator import Animator
from joyvasa.errors import EnvironmentFault
from joyvasa.models import AnimationConfig
from manifests.scratch import scratch_folder, sweep_scratch
from pipelines.web.confined import Root
from pipelines.web.guard import Guard
from pipelines.web.jobs import JobQueue
from pipelines.web.limits import Limits
from pipelines.web.pace import Pace
from pipelines.web.page import build_page, theme
from pipelines.web.render import FILES, RESULTS, asset
from pipelines.web.runs_browser import RunsBrowser
from pipelines.web.runs_page import RunsPage
from pipelines.web.studio import Studio
from pipelines.web.try_page import TryPage
from pipelines.web.uploads import Uploads

LEAVE_S = 3  # seconds for open connections at the end
# A report brings scripts of its own; where it comes from anybody's run folder it must not act as this page.
SANDBOX = {"content-security-policy": "sandbox allow-scripts allow-popups", "x-content-type-options": "nosniff"}


@dataclass(frozen=True, kw_only=True)
class WebConfig:
    """What is served, and where.

    Attributes:
        root: folder whose runs are shown.
        animation: options that the page does not show, and the defaults of those that it does.
        devices: each makes one video at a time.
        host, port: to listen on; port 0 takes any that is free.
        password: that every request must bring; None for none.
        limits: of what is accepted and kept.
    """

    root: str
    animation: AnimationConfig
    devices: Sequence[str] = ("auto",)
    host: str = "127.0.0.1"
    port: int = 7862
    password: str | None = None
    limits: Limits = field(default_factory=Limits)


def serve(config: WebConfig) -> None:
    """Serves the page until the process is told to end, and prints its address when it is about to answer.

    Args:
        config: what and where.

    Raises:
        JoyvasaError: `root_invalid`, `address_unavailable`, missing models.
    """
    with listening(config.host, config.port) as listener, application(config) as app:
        port = listener.getsockname()[1]
        host = f"[{config.host}]" if ":" in config.host else config.host
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="critical", access_log=False, timeout_graceful_shutdown=LEAVE_S)
        )
        print(f"http://{host}:{port}", flush=True)
        server.run(sockets=[listener])


@contextmanager
def listening(host: str, port: int) -> Generator[socket.socket]:
    """A socket that is bound, so that a taken port is told before models load.

    Raises:
        EnvironmentFault: `address_unavailable`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            reason = error.strerror or str(error)
            raise EnvironmentFault(
                "address_unavailable", f"{host}:{port}: cannot listen there ({reason}): choose another --port"
            ) from None
        yield listener


@contextmanager
def application(config: WebConfig) -> Generator[ASGIApp]:
    """All that answers requests; its temporary folder is gone when the block ends.

    Raises:
        JoyvasaError: `root_invalid`, missing models.
    """
    root = Root(config.root)
    first = Animator(replace(config.animation, device=config.devices[0]))  # missing models are told now
    del first
    sweep_scratch()
    with scratch_folder() as scratch:
        uploads, pace = Uploads(scratch, config.limits), Pace()
        os.environ["GRADIO_TEMP_DIR"] = str(uploads.folder)  # Gradio takes it from nowhere else
        queue = JobQueue([Studio(device, pace).make for device in config.devices], config.limits)
        try:
            try_page = TryPage(config.animation, queue, pace, uploads)
            blocks = build_page(try_page, RunsPage(RunsBrowser(root, config.limits)), config.limits)
            yield Guard(
                _routes(config, blocks, root, queue),
                host=config.host,
                password=config.password,
                allows_file=uploads.holds,
                has_room=uploads.has_room,
            )
        finally:
            queue.close()


def _routes(config: WebConfig, blocks: gr.Blocks, root: Root, queue: JobQueue) -> fastapi.FastAPI:
    app = fastapi.FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.get(RESULTS + "/{job_id}/{name}")
    def result(job_id: str, name: str) -> Response:
        job = queue.find(job_id)
        files = {"video.mp4": job.made.video, "source.jpg": job.made.source} if job and job.made else {}
        return FileResponse(files[name]) if name in files and files[name].is_file() else _nothing()

    @app.get(FILES + "/{path:path}")
    def file(path: str) -> Response:
        found = root.shown_file(path)
        return FileResponse(found, headers=SANDBOX) if found else _nothing()

    return gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        server_name=config.host,
        server_port=config.port,
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        show_error=True,
        max_file_size=config.limits.upload_bytes,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme(),
        css=asset("page.css"),
    )


def _nothing() -> Response:
    return PlainTextResponse("there is nothing here", 404)
