"""Remote media: missing or refused files fail for good, other errors of servers are retried."""

import errno
import socket
import threading
from http.server import BaseHTTPRequestHandler

import pytest

from joyvasa.errors import InputError
from joyvasa.runtime import locations
from stages import hash_inputs, media
from stages.base import Failed, FailureKind, Item
from stages.failures import classify_exception
from stages.media import RemoteError
from tests.http_server import serve_http
from tests.stages.items import make_record


class _Server(BaseHTTPRequestHandler):
    """Answers `/STATUS` with that status, `/slow` never, and other paths with a few bytes."""

    released = threading.Event()

    def do_GET(self):
        name = self.path.strip("/").partition("?")[0]
        if name == "slow":
            self.released.wait(30)
            return
        status = int(name) if name.isdecimal() else 200
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "7")
        self.send_header("Content-Length", "5")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(b"media")

    do_HEAD = do_GET  # noqa: N815 (name required by the base class)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with serve_http(_Server) as address:
        yield address
        _Server.released.set()


@pytest.fixture(params=["local_file", "open_stream"])
def read(request):
    def read(location):
        with getattr(media, request.param)(location) as source:
            return source.read_bytes() if request.param == "local_file" else source.read()

    return read


def test_a_file_is_read(server, read):
    assert read(f"{server}/file") == b"media"


@pytest.mark.parametrize("status", [404, 410])
def test_a_file_that_the_server_does_not_have_is_missing(server, read, status):
    with pytest.raises(InputError, match=r"file_missing: .*check the address"):
        read(f"{server}/{status}")


@pytest.mark.parametrize("status", [400, 401, 403, 451])
def test_a_refused_request_is_permanent(server, read, status):
    with pytest.raises(InputError, match=rf"file_refused: .*\(HTTP {status}\).*credentials"):
        read(f"{server}/{status}")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_failing_server_is_retried(server, read, status):
    with pytest.raises(RemoteError, match=f"HTTP {status}") as error:
        read(f"{server}/{status}")
    failed = classify_exception(error.value)
    assert failed.kind is FailureKind.IO
    assert failed.retry_after_s == (7 if status == 429 else 0)


def test_a_refused_connection_and_an_unknown_host_are_retried(read):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for location in (f"http://127.0.0.1:{port}/a.png", "http://no-such-host.invalid/a.png"):
        with pytest.raises(RemoteError, match="cannot be fetched"):
            read(location)


def test_an_io_error_of_a_store_is_retried(read, monkeypatch):
    class BrokenFileSystem:
        def open(self, path, mode):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(media, "open_filesystem", lambda location: (BrokenFileSystem(), "a.png"))
    with pytest.raises(OSError, match="Input/output error") as error:
        read("s3://bucket/a.png")
    assert classify_exception(error.value).kind is FailureKind.IO


def test_a_silent_server_times_out(server, read, monkeypatch):
    monkeypatch.setattr(locations, "READ_S", 0.3)
    with pytest.raises(RemoteError, match=r"no answer within 0.3 s") as error:
        read(f"{server}/slow")
    assert classify_exception(error.value).kind is FailureKind.IO


def test_a_silent_host_costs_one_time_limit_and_other_files_are_read(server, tmp_path, monkeypatch):
    monkeypatch.setattr(locations, "READ_S", 0.3)
    (tmp_path / "a.png").write_bytes(b"picture")
    monkeypatch.setattr(hash_inputs, "THREADS", 1)
    stage = hash_inputs.HashInputsStage()
    stage.setup()
    rows = [make_record(str(number), image=f"{server}/slow?{number}") for number in range(20)]
    outcomes = stage.run([Item(row) for row in (*rows, make_record("good", image=tmp_path / "a.png"))])
    assert all(isinstance(outcome, Failed) and outcome.kind is FailureKind.IO for outcome in outcomes[:-1])
    assert sum("not tried" in outcome.sentence for outcome in outcomes[:-1]) == 19
    assert not isinstance(outcomes[-1], Failed)
