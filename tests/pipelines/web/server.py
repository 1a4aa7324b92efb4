"""The page served in this process, for tests that ask it over HTTP or with a browser."""

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

from joyvasa.models import AnimationConfig
from joyvasa.rendering.portrait import PictureConfig

LIMIT_S = 300.0  # seconds, on a machine with much else to do


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Served:
    """A running server."""

    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path: str, *, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
        """One request with the path as it is: nothing is resolved or escaped on the way."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.putrequest(method, path, skip_host="host" in given)
        for name, value in given.items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        with contextlib.closing(connection), connection.getresponse() as response:
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


@contextlib.contextmanager
def served(root: Path, *, models: str = "sample", **options: Any) -> Generator[Served]:
    """Serves a root on a free port until the block ends; skips the test where Gradio is missing."""
    pytest.importorskip("gradio", reason="gradio is not installed: install the extra web")
    import uvicorn

    from pipelines.web.server import WebConfig, application, listening

    picture = PictureConfig(max_side=400)  # small videos are made and measured sooner
    animation = AnimationConfig(models=models, device="cpu", picture=picture)
    config = WebConfig(root=str(root), animation=animation, port=0, **options)
    with listening(config.host, config.port) as listener, application(config) as app:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            deadline = time.monotonic() + LIMIT_S
            while not server.started:
                assert thread.is_alive(), "the server has ended"
                assert time.monotonic() < deadline, "the server does not start"
                time.sleep(0.02)
            yield Served(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()
