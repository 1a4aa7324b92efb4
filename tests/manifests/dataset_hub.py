"""A local HTTP server that imitates data sets on the Hugging Face hub."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from tests.http_server import serve_http


class _Handler(BaseHTTPRequestHandler):
    files: dict[str, bytes]
    downloads: list[tuple[str, int]]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/api/datasets/me/faces":
            self._send(json.dumps({"id": "me/faces", "sha": "8" * 40, "siblings": []}).encode())
        elif "/tree/" in path:
            folder = path.partition("/tree/")[2].partition("/")[2]
            self._send(json.dumps([entry for entry in self._entries() if _parent(entry) == folder]).encode())
        elif "/resolve/" in path and (name := path.partition("/resolve/")[2].partition("/")[2]) in self.files:
            content, wanted = self.files[name], self.headers.get("Range")
            if wanted:
                start, _, end = wanted.removeprefix("bytes=").partition("-")
                content = content[int(start) : int(end) + 1]
            self.downloads.append((name, len(content)))
            self._send(content, 206 if wanted else 200)
        else:
            self._send(b"", 404)

    do_HEAD = do_GET  # noqa: N815 (name required by the base class)

    def _entries(self) -> list[dict]:
        folders = {posixpath.dirname(name) for name in self.files} - {""}
        entries = [{"type": "directory", "oid": "2" * 40, "size": 0, "path": name} for name in folders]
        files = self.files.items()
        return entries + [{"type": "file", "oid": "1" * 40, "size": len(data), "path": name} for name, data in files]

    def _send(self, content: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Disable logging."""


def _parent(entry: dict) -> str:
    return posixpath.dirname(entry["path"])


@contextmanager
def serve_data_set(files: dict[str, bytes]) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """Serve the data set `me/faces`; yield the address and a list that gets name and bytes of each download."""
    downloads: list[tuple[str, int]] = []
    with serve_http(_Handler, files=files, downloads=downloads) as address:
        yield address, downloads
