"""What is refused before the page sees it: strangers, pages of other sites, and what is not used of Gradio."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.web.password import is_loopback, knows_password

# Of Gradio: what its page fetches, and no more. What is left out, among others: a proxy to other addresses, calls by
# name, server-side recording, the history of calls.
USED = re.compile(
    r"/|/(assets|static|svelte)/.+|/(config|theme\.css|favicon\.ico|manifest\.json|pwa_icon)|/gradio_api/"
    r"(queue/(join|data)|upload|upload_progress|heartbeat/\w+|reset|cancel|startup-events|info|app_id|theme\.css|file=.+)"
    r"|/(results|files)/.+"
)
UPLOAD = "/gradio_api/upload"
FILE = "/gradio_api/file="
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "SAMEORIGIN",
    # The page and its parts come from here; a browser must not fetch anything from elsewhere.
    "content-security-policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'",
}


class Guard:
    """Stands before an ASGI application.

    Args:
        app: that is guarded.
        host: address that it listens on; on a loopback address only requests to this machine's own names are answered,
            so that no page of another site gets in by pointing its name here.
        password: that every request must bring; None for none.
        allows_file: whether a file that Gradio is asked for may be shown.
        has_room: whether another upload may be taken.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        password: str | None,
        allows_file: Callable[[str], bool],
        has_room: Callable[[], bool],
    ) -> None:
        self._app = app
        self._local = is_loopback(host)
        self._password = password
        self._allows_file = allows_file
        self._has_room = has_room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers or passes on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            refusal = self._refusal(scope)
            if refusal:
                await refusal(scope, receive, send)
            else:
                await self._app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers, path = Headers(scope=scope), scope["path"]
        if self._local and not is_loopback(_name(headers.get("host", ""))):
            return PlainTextResponse("this page is at http://127.0.0.1", 421)
        if self._password is not None and not knows_password(headers.get("authorization"), self._password):
            ask = {"WWW-Authenticate": 'Basic realm="joyvasa", charset="UTF-8"'}
            return PlainTextResponse("the password is missing or wrong", 401, headers=ask)
        origin = headers.get("origin")
        if scope["method"] not in ("GET", "HEAD") and origin and urlsplit(origin).netloc != headers.get("host"):
            return PlainTextResponse("this request comes from another site", 403)
        if not USED.fullmatch(path) or (path.startswith(FILE) and not self._allows_file(path.removeprefix(FILE))):
            return PlainTextResponse("there is nothing here", 404)
        if path == UPLOAD and not self._has_room():
            return PlainTextResponse("the folder for uploads is full: try again later", 507)
        return None


def _name(host: str) -> str:
    """The name in the header `Host`, without port and brackets."""
    return urlsplit(f"//{host}").hostname or ""


def _with_headers(send: Send) -> Callable[[Message], Any]:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            there = {name.lower() for name, _ in message["headers"]}
            added = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in there]
            message["headers"] = [*message["headers"], *added]
        await send(message)

    return sending
