"""Serve the page in this process, for tests that send requests or use a browser."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from joyvasa.options import AnimationConfig
from joyvasa.rendering.portrait import PictureConfig

LIMIT_S = 300.0  # seconds, also on a busy machine


@dataclass(frozen=True)
class Response:
    """The response to a request."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class RunningServer:
    """A running server."""

    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(self, path: str, *, method: str = "GET", body: bytes | None = None, **headers: str) -> Response:
        """Send a request with the path as it is, without resolving or escaping it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.putrequest(method, path, skip_host="host" in fields)
        for name, value in fields.items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        with contextlib.closing(connection), connection.getresponse() as response:
            return Response(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


@contextlib.contextmanager
def serve_root(root: Path, *, models: str = "sample", **options: Any) -> Generator[RunningServer]:
    """Serve a root on a free port until the block ends; skip the test if Gradio is missing."""
    pytest.importorskip("gradio", reason="gradio is not installed: install the extra web")
    import uvicorn

    from pipelines.web.server import WebConfig, create_app, open_listener

    picture = PictureConfig(max_side=400)  # small videos are faster
    animation = AnimationConfig(models=models, device="cpu", picture=picture)
    config = WebConfig(root=str(root), animation=animation, port=0, **options)
    with open_listener(config.host, config.port) as listener, create_app(config) as app:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            deadline = time.monotonic() + LIMIT_S
            while not server.started:
                assert thread.is_alive(), "the server has ended"
                assert time.monotonic() < deadline, "the server does not start"
                time.sleep(0.02)
            yield RunningServer(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()
