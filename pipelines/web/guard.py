"""Refuse requests without the password, from other sites, and to endpoints of Gradio that the page does not use."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.web.password import is_loopback, password_matches

# The endpoints that Gradio's page fetches, and no others. Blocked are, among others, a proxy to other addresses, calls
# by name, server-side recording and the history of calls.
ALLOWED_PATHS = re.compile(
    r"/|/(assets|static|svelte)/.+|/(config|theme\.css|favicon\.ico|manifest\.json|pwa_icon)|/gradio_api/"
    r"(queue/(join|data)|upload|upload_progress|heartbeat/\w+|reset|cancel|startup-events|info|app_id|theme\.css|file=.+)"
    r"|/(results|files|posters|selections)/.+"
)
UPLOAD = "/gradio_api/upload"
FILE = "/gradio_api/file="
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "SAMEORIGIN",
    # A browser must fetch everything from this server.
    "content-security-policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'",
}


@dataclass(eq=False)
class Guard:
    """Middleware that refuses requests before they reach an ASGI application."""

    app: ASGIApp  # guarded application
    # address of the server. On a loopback address only requests to this machine's own names are answered, so that
    # another site cannot get access by resolving its name to this machine
    host: str
    password: str | None  # password that every request must have; None for no password
    allows_file: Callable[[str], bool]  # returns whether Gradio may serve a file
    has_room: Callable[[], bool]  # returns whether another upload is accepted

    def __post_init__(self) -> None:
        self._local = is_loopback(self.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it to the application."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            refusal = self._refusal(scope)
            if refusal:
                await refusal(scope, receive, send)
            else:
                await self.app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers, path = Headers(scope=scope), scope["path"]
        if self._local and not is_loopback(_name(headers.get("host", ""))):
            return PlainTextResponse("this page is at http://127.0.0.1", 421)
        if self.password is not None and not password_matches(headers.get("authorization"), self.password):
            ask = {"WWW-Authenticate": 'Basic realm="joyvasa", charset="UTF-8"'}
            return PlainTextResponse("the password is missing or wrong", 401, headers=ask)
        origin = headers.get("origin")
        if scope["method"] not in ("GET", "HEAD") and origin and urlsplit(origin).netloc != headers.get("host"):
            return PlainTextResponse("this request comes from another site", 403)
        if not ALLOWED_PATHS.fullmatch(path) or (
            path.startswith(FILE) and not self.allows_file(path.removeprefix(FILE))
        ):
            return PlainTextResponse("not found", 404)
        if path == UPLOAD and not self.has_room():
            return PlainTextResponse("the folder for uploads is full: try again later", 507)
        return None


def _name(host: str) -> str:
    """Return the name in the header `Host`, without port and brackets."""
    return urlsplit(f"//{host}").hostname or ""


def _with_headers(send: Send) -> Callable[[Message], Any]:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message["headers"]}
            added = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in present]
            message["headers"] = [*message["headers"], *added]
        await send(message)

    return send_with_headers
