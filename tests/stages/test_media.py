"""Remote media: what is missing or refused is final, what a server cannot deliver now is retried."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from joyvasa.errors import InputError
from stages import media
from stages.base import Failed, FailureKind, Item, classify_exception
from stages.hash_inputs import HashInputsConfig, HashInputsStage
from stages.media import RemoteError, local_file, open_stream
from tests.stages.items import make_record


class _Server(BaseHTTPRequestHandler):
    """Answer `/STATUS` with that status, `/slow` never, anything else with a few bytes."""

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

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        _Server.released.set()
        server.shutdown()


@pytest.fixture(params=["local_file", "open_stream"])
def read(request):
    def read(location):
        with getattr(media, request.param)(location) as source:
            return source.read_bytes() if request.param == "local_file" else source.read()

    return read


def test_a_file_is_read(server, read):
    assert read(f"{server}/file") == b"media"


@pytest.mark.parametrize("status", [404, 410])
def test_only_what_a_server_does_not_have_is_missing(server, read, status):
    with pytest.raises(InputError, match=r"file_missing: .*check the address"):
        read(f"{server}/{status}")


@pytest.mark.parametrize("status", [400, 401, 403, 451])
def test_what_a_server_refuses_is_final_and_says_so(server, read, status):
    with pytest.raises(InputError, match=rf"file_refused: .*\(HTTP {status}\).*credentials"):
        read(f"{server}/{status}")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_a_server_cannot_deliver_now_is_retried(server, read, status):
    with pytest.raises(RemoteError, match=f"HTTP {status}") as caught:
        read(f"{server}/{status}")
    failed = classify_exception(caught.value)
    assert failed.kind is FailureKind.IO
    assert failed.retry_after_s == (7 if status == 429 else 0)


def test_a_refused_connection_and_an_unknown_host_are_retried(read):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for location in (f"http://127.0.0.1:{port}/a.png", "http://no-such-host.invalid/a.png"):
        with pytest.raises(RemoteError, match="cannot be fetched"):
            read(location)


def test_a_silent_server_is_given_up_after_the_time_limit(server, read, monkeypatch):
    monkeypatch.setattr(media, "READ_S", 0.3)
    with pytest.raises(RemoteError, match=r"no answer within 0.3 s") as caught:
        read(f"{server}/slow")
    assert classify_exception(caught.value).kind is FailureKind.IO


def test_many_files_of_a_silent_host_cost_one_time_limit_and_the_others_are_read(server, tmp_path, monkeypatch):
    monkeypatch.setattr(media, "READ_S", 0.3)
    (tmp_path / "a.png").write_bytes(b"picture")
    stage = HashInputsStage(HashInputsConfig(threads=1))
    stage.setup()
    rows = [make_record(str(number), image=f"{server}/slow?{number}") for number in range(20)]
    outcomes = stage.run([Item(row) for row in (*rows, make_record("good", image=tmp_path / "a.png"))])
    assert all(isinstance(outcome, Failed) and outcome.kind is FailureKind.IO for outcome in outcomes[:-1])
    assert sum("not tried" in outcome.sentence for outcome in outcomes[:-1]) == 19
    assert not isinstance(outcomes[-1], Failed)
