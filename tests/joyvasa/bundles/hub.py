"""Local HTTP server that imitates the Hugging Face hub, with faults on demand."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlparse

from tests.http_server import serve_http

COMMIT = "82a4fa67" + "0123456789abcdef" * 2


@dataclass
class Hub:
    """Files of the hub, a log of requests, and faults.

    Args:
        files: content by `owner/name/path`.
        break_at: byte of the file at which downloads are interrupted.
        breaks: number of further downloads to interrupt.
        slow: delay between chunks of 1 MB, seconds.
    """

    files: dict[str, bytes]
    break_at: int = 0
    breaks: int = 0
    slow: float = 0.0
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    url: str = ""
    sent: threading.Event = field(default_factory=threading.Event)  # set after the first bytes of a file were sent

    def ranges(self) -> list[str | None]:
        """Return the Range headers of the downloads, in order."""
        return [value for method, path, value in self.requests if method == "GET" and "/resolve/" in path]

    @contextmanager
    def serve(self) -> Iterator[Hub]:
        """Serve requests during the block."""
        with serve_http(_Handler, hub=self) as self.url:
            yield self


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        if "/commits/" in self.path:
            commit = {
                "id": COMMIT,
                "title": "weights",
                "message": "",
                "authors": [],
                "date": "2025-01-01T00:00:00.000Z",
            }
            self._send_json([commit])
        else:
            self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        hub = self.hub
        byte_range = self.headers.get("Range")
        hub.requests.append((self.command, self.path, byte_range))

        parts = unquote(urlparse(self.path).path).lstrip("/").split("/")
        if len(parts) < 5 or parts[2] != "resolve" or parts[3] not in ("main", COMMIT):
            self._not_found("RevisionNotFound")
            return
        data = hub.files.get("/".join([*parts[:2], *parts[4:]]))
        if data is None:
            self._not_found("EntryNotFound")
            return
        start = int(byte_range.removeprefix("bytes=").rstrip("-")) if byte_range else 0

        self.send_response(206 if byte_range else 200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - start))
        if byte_range:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if with_body:
            self._send_body(data, start)

    def _send_body(self, data: bytes, start: int) -> None:
        hub = self.hub
        breaks = hub.breaks > 0
        if breaks:
            hub.breaks -= 1
            data = data[: hub.break_at]

        try:
            for offset in range(start, len(data), 1 << 20):
                self.wfile.write(data[offset : offset + (1 << 20)])
                hub.sent.set()
                if hub.slow:
                    time.sleep(hub.slow)
            self.wfile.flush()
        except OSError:
            self.close_connection = True
        if breaks:
            self.close_connection = True
            self.connection.close()

    def _send_json(self, content: object) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _not_found(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Disable logging."""
