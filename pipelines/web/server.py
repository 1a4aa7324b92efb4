"""The web server: the page with its two tabs, videos and files of runs, protected by the guard."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import fastapi
import gradio as gr
import uvicorn
from gradio import themes
from gradio.components import Component
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.types import ASGIApp

from joyvasa.animator import Animator
from joyvasa.errors import EnvironmentFault, InputError, JoyvasaError
from joyvasa.options import AnimationConfig
from manifests.examples import FOLDER as EXAMPLES
from manifests.scratch import scratch_folder, sweep_scratch
from pipelines.runs.selection.options import SelectionOptions
from pipelines.web.confinement import VIDEOS, RunsRoot
from pipelines.web.controls_panel import ControlsPanel
from pipelines.web.device_worker import DeviceWorker
from pipelines.web.guard import Guard
from pipelines.web.jobs import JobQueue, TimeEstimator
from pipelines.web.limits import Limits
from pipelines.web.previewer import Posters, Previewer
from pipelines.web.runs_browser import SELECTION_FILE, RunsBrowser
from pipelines.web.runs_page import RunsPage
from pipelines.web.templating import FILES, POSTERS, RESULTS, SELECTIONS, read_asset, render_template
from pipelines.web.try_page import TryPage
from pipelines.web.uploads import Uploads

SHUTDOWN_S = 3  # time for open connections to finish
# A report has scripts of its own; it may come from an untrusted run folder and must not act as this page.
SANDBOX = {"content-security-policy": "sandbox allow-scripts allow-popups", "x-content-type-options": "nosniff"}


@dataclass(frozen=True, kw_only=True)
class WebConfig:
    """Options of the web server."""

    root: str  # folder whose runs are shown
    animation: AnimationConfig  # options of animations; the page shows some of them as fields
    devices: Sequence[str] = ("auto",)  # devices, each of which makes one video at a time
    # host, port: address to listen on; port 0 selects a free one
    host: str = "127.0.0.1"
    port: int = 7862
    password: str | None = None  # password that every request must have; None for no password
    limits: Limits = field(default_factory=Limits)  # limits of what is accepted and stored


def serve_page(config: WebConfig) -> None:
    """Print the address of the page and serve it until the process is stopped.

    Raises:
        JoyvasaError: `root_invalid`, `address_unavailable`, missing models.
    """
    with open_listener(config.host, config.port) as listener, create_app(config) as app:
        port = listener.getsockname()[1]
        host = f"[{config.host}]" if ":" in config.host else config.host
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="critical", access_log=False, timeout_graceful_shutdown=SHUTDOWN_S)
        )
        print(f"http://{host}:{port}", flush=True)
        server.run(sockets=[listener])


@contextmanager
def open_listener(host: str, port: int) -> Generator[socket.socket]:
    """Bind a socket, so that a port in use is reported before models load.

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
def create_app(config: WebConfig) -> Generator[ASGIApp]:
    """Create the application; its temporary folder is removed when the block ends.

    Raises:
        JoyvasaError: `root_invalid`, missing models.
    """
    root = RunsRoot(config.root)
    Animator(replace(config.animation, device=config.devices[0]))  # reports missing models now
    sweep_scratch()
    with scratch_folder() as scratch:
        uploads, estimator = Uploads(scratch, config.limits), TimeEstimator()
        os.environ["GRADIO_TEMP_DIR"] = str(uploads.folder)  # Gradio reads it only from here
        queue = JobQueue(
            [DeviceWorker(device, estimator, config.limits).make_video for device in config.devices], config.limits
        )
        try:
            previewer = Previewer(replace(config.animation, device=config.devices[0]))
            panel = ControlsPanel(config.animation, previewer, uploads)
            try_page = TryPage(config.animation, queue, estimator, uploads, panel)
            browser = RunsBrowser(root, config.limits)
            blocks = _build_page(try_page, RunsPage(browser), config.limits)
            app = fastapi.FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
            _add_results(app, queue)
            _add_run_files(app, root, config.limits)
            _add_selections(app, browser, scratch)
            yield Guard(
                _mount_page(app, blocks, config),
                host=config.host,
                password=config.password,
                allows_file=uploads.contains,
                has_room=uploads.has_room,
            )
        finally:
            queue.close()


def _add_results(app: fastapi.FastAPI, queue: JobQueue) -> None:
    """Add the route of finished videos."""

    @app.get(RESULTS + "/{job_id}/{name}")
    def serve_result(job_id: str, name: str) -> Response:
        job = queue.find(job_id)
        files = {"video.mp4": job.result.video, "source.jpg": job.result.source} if job and job.result else {}
        return FileResponse(files[name]) if name in files and files[name].is_file() else _not_found()


def _add_run_files(app: fastapi.FastAPI, root: RunsRoot, limits: Limits) -> None:
    """Add the routes of the files of runs, and of posters of their videos."""
    posters = Posters(limits.poster_bytes)

    @app.get(FILES + "/{path:path}")
    def serve_file(path: str) -> Response:
        shown = root.shown_file(path)
        return FileResponse(shown, headers=SANDBOX) if shown else _not_found()

    @app.get(POSTERS + "/{path:path}")
    def serve_poster(path: str) -> Response:
        video = root.shown_file(path)
        if video is None or video.suffix.lower() not in VIDEOS:
            return _not_found()
        poster = posters.find(video)
        return Response(poster, 200 if poster else 204, {"cache-control": "max-age=60"}, "image/jpeg")


def _add_selections(app: fastapi.FastAPI, browser: RunsBrowser, scratch: Path) -> None:
    """Add the route of selections of runs, which are written one at a time."""
    lock = threading.Lock()

    @app.get(SELECTIONS + "/" + SELECTION_FILE)
    def serve_selection(
        run: str,
        status: Annotated[list[str], fastapi.Query()],
        where: Annotated[list[str] | None, fastapi.Query()] = None,
    ) -> Response:
        if not lock.acquire(blocking=False):
            return PlainTextResponse("another selection is being written: try again in a moment", 503)
        try:
            folder = Path(tempfile.mkdtemp(prefix="selection-", dir=scratch))
            with ExitStack() as failed:
                failed.callback(shutil.rmtree, folder)
                options = SelectionOptions(statuses=tuple(status), where=tuple(where or ()))
                browser.write_selection(run, options, folder / SELECTION_FILE)
                failed.pop_all()  # the folder is removed when its file has been sent
        except JoyvasaError as error:
            return PlainTextResponse(str(error), 400)
        finally:
            lock.release()
        background = BackgroundTask(shutil.rmtree, folder)
        return FileResponse(folder / SELECTION_FILE, filename=SELECTION_FILE, background=background)


def _mount_page(app: fastapi.FastAPI, blocks: gr.Blocks, config: WebConfig) -> fastapi.FastAPI:
    return gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        server_name=config.host,
        server_port=config.port,
        footer_links=[],
        run_history=False,
        allowed_paths=[str(EXAMPLES)],
        show_error=True,
        max_file_size=config.limits.upload_bytes,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=build_theme(),
        css=read_asset("page.css"),
    )


def _not_found() -> Response:
    return PlainTextResponse("not found", 404)


CLEAN_EVERY_S = 60
FONTS = ("system-ui", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def _build_page(try_page: TryPage, runs_page: RunsPage, limits: Limits) -> gr.Blocks:
    """Build the page."""
    with gr.Blocks(
        title="joyvasa",
        analytics_enabled=False,
        delete_cache=(CLEAN_EVERY_S, limits.upload_age_s),
        fill_width=False,
    ) as blocks:
        gr.HTML(render_template("title", config=try_page.config))
        with gr.Tabs():
            with gr.Tab("Try"):
                try_page.build()
            with gr.Tab("Runs", elem_id="jv-runs-tab") as tab:
                runs_page.build(tab)
        blocks.unload(try_page.remove_session)
    for block in blocks.blocks.values():
        if isinstance(block, Component):
            block.async_move_resource_to_block_cache = _local_only(block)  # type: ignore[method-assign]
    return blocks


def build_theme() -> themes.Base:
    """Build the theme; it uses system fonts, so that none is downloaded, and colors with the contrast of WCAG AA."""
    theme = themes.Base(
        primary_hue="blue", neutral_hue="slate", spacing_size="md", radius_size="md", font=FONTS, font_mono=MONO
    )
    return theme.set(
        body_text_color_subdued="*neutral_500",
        color_accent="*primary_600",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
    )


def _local_only(block: Component):  # noqa: ANN202 (Gradio's)
    """Return a method that refuses URLs: Gradio would download them, but this page accepts only uploads."""
    move_file = block.async_move_resource_to_block_cache

    async def move_upload(path: str | None) -> str | None:
        if path and "://" in str(path)[:16]:
            raise InputError("upload_missing", "a URL is not an upload: choose a file")
        return await move_file(path)

    return move_upload
