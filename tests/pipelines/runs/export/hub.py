"""Local HTTP server that imitates uploads of data sets to the Hugging Face hub, with faults on demand."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlparse

from tests.http_server import serve_http

COMMIT = "0123456789abcdef" * 2 + "01234567"
LARGE = (".tar", ".parquet", ".mp4", ".jpg")  # suffixes of files that the hub stores outside of Git


@dataclass
class UploadHub:
    """A repository of the hub.

    Args:
        files: content by path, of committed files.
        commits: paths of each commit.
        fail_commits: number of further commits that are refused with an error of the server.
        token: token that is required; empty for none.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[list[str]] = field(default_factory=list)
    created: list[dict] = field(default_factory=list)
    uploads: list[str] = field(default_factory=list)  # hashes of uploaded large files
    fail_commits: int = 0
    token: str = ""
    url: str = ""
    stored: dict[str, bytes] = field(default_factory=dict)  # large files by hash

    @contextmanager
    def serve(self) -> Iterator[UploadHub]:
        """Serve requests during the block."""
        with serve_http(_Handler, hub=self) as self.url:
            yield self


class _Handler(BaseHTTPRequestHandler):
    hub: UploadHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if "/tree/" not in self.path:
            self._send({}, 404)
            return
        entries = []
        for path, content in self.hub.files.items():
            entry = {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            if path.endswith(LARGE):
                entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 100}
            entries.append(entry)
        self._send(entries)

    def do_PUT(self) -> None:
        digest, content = self.path.rpartition("/")[2], self._read()
        assert hashlib.sha256(content).hexdigest() == digest
        self.hub.stored[digest] = content
        self.hub.uploads.append(digest)
        self._send({})

    def do_POST(self) -> None:
        content, path = self._read(), urlparse(self.path).path
        if self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self._send({"error": "Invalid username or password."}, 401)
        elif path == "/api/repos/create":
            self.hub.created.append(json.loads(content))
            name = f"{self.hub.created[-1]['organization']}/{self.hub.created[-1]['name']}"
            self._send({"url": f"{self.hub.url}/datasets/{name}", "name": name})
        elif path == "/api/validate-yaml":
            self._send({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            self._send({"files": [self._upload_mode(file["path"]) for file in json.loads(content)["files"]]})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = [self._upload_action(entry) for entry in json.loads(content)["objects"]]
            self._send({"transfer": "basic", "objects": objects})
        elif "/commit/" in path:
            self._commit([json.loads(line) for line in content.splitlines()])
        else:
            self._send({}, 404)

    def _upload_mode(self, path: str) -> dict:
        return {"path": path, "uploadMode": "lfs" if path.endswith(LARGE) else "regular", "shouldIgnore": False}

    def _upload_action(self, entry: dict) -> dict:
        if entry["oid"] in self.hub.stored:
            return entry
        return {**entry, "actions": {"upload": {"href": f"{self.hub.url}/store/{entry['oid']}"}}}

    def _commit(self, lines: list[dict]) -> None:
        if self.hub.fail_commits and self.hub.commits:
            self.hub.fail_commits -= 1
            self._send({"error": "storage is read-only"}, 403)
            return
        paths = []
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.hub.files[value["path"]] = base64.b64decode(value["content"])
                paths.append(value["path"])
            elif line["key"] == "lfsFile":
                self.hub.files[value["path"]] = self.hub.stored[value["oid"]]
                paths.append(value["path"])
        self.hub.commits.append(paths)
        url = f"{self.hub.url}{self.path.partition('/api')[2].rpartition('/')[0]}/{COMMIT}"
        self._send({"commitUrl": url, "commitOid": COMMIT, "pullRequestUrl": None, "success": True})

    def _read(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(self, content: object, status: int = 200) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Disable logging."""
