"""Real requests get the page and videos below the root, and nothing else of this machine."""

import base64
import errno
import json
import os
import tempfile
from pathlib import Path

import pytest

from joyvasa.errors import ConfigError, EnvironmentFault, ModelError
from pipelines.web.limits import Limits
from pipelines.web.runs_browser import RunsBrowser
from tests.pipelines.web.server import serve_root

PASSWORD = "correct horse"
SECRET = b"a private file"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root with a run and a report, and links that point outside of it."""
    base = tmp_path_factory.mktemp("served")
    (base / "secret.mp4").write_bytes(SECRET)
    (base / "secret").mkdir()
    (base / "secret/index.html").write_bytes(SECRET)
    videos = base / "root/run/shards/00000/videos"
    videos.mkdir(parents=True)
    (videos / "x.mp4").write_bytes(bytes(range(200)))
    (videos / "a #?%41&é.mp4").write_bytes(b"odd name")
    (videos / "link.mp4").symlink_to(base / "secret.mp4")
    run = base / "root/run"
    (run / "run.yaml").write_text("nonsense: [")
    (run / "manifest.parquet").write_bytes(SECRET)
    (run / "report").mkdir()
    (run / "report/index.html").write_text("<script>parent.document</script>")
    (base / "root/linked").mkdir()
    (base / "root/linked/run.yaml").touch()
    (base / "root/linked/report").symlink_to(base / "secret")
    return base / "root"


@pytest.fixture(scope="module")
def server(root):
    with serve_root(root, limits=Limits(upload_bytes=20_000)) as running:
        yield running


def upload(server, content, name="x.jpg", **headers):
    head = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    body = head.encode() + content + b"\r\n--b--\r\n"
    return server.request(
        "/gradio_api/upload", method="POST", body=body, Content_Type="multipart/form-data; boundary=b", **headers
    )


def test_videos_and_reports_below_the_root_are_served(server):
    whole = server.request("/files/run/shards/00000/videos/x.mp4")
    assert (whole.status, whole.body, whole.headers["content-type"]) == (200, bytes(range(200)), "video/mp4")
    part = server.request("/files/run/shards/00000/videos/x.mp4", Range="bytes=10-19")
    assert (part.status, part.body) == (206, bytes(range(10, 20)))
    odd = server.request("/files/run/shards/00000/videos/a%20%23%3F%2541%26%C3%A9.mp4")
    assert (odd.status, odd.body) == (200, b"odd name")


def test_a_selection_that_fails_does_not_block_later_ones(server, monkeypatch):
    path = "/selections/selection.parquet?run=run&status=ok"
    with monkeypatch.context() as patch:
        patch.setattr(RunsBrowser, "write_selection", raise_full_disk)
        assert server.request(path).status == 500
        folders = [folder for folder in Path(tempfile.gettempdir()).glob("*/selection-*") if not any(folder.iterdir())]
        assert folders == []
        patch.setattr(tempfile, "mkdtemp", raise_full_disk)
        assert server.request(path).status == 500
    answer = server.request(path)
    assert answer.status == 400
    assert b"run_unreadable" in answer.body


def raise_full_disk(*_, **__):
    raise OSError(errno.ENOSPC, "no space left")


def test_a_report_cannot_act_as_the_page(server):
    answer = server.request("/files/run/report/index.html")
    assert answer.status == 200
    assert answer.headers["content-security-policy"].startswith("sandbox ")
    assert "allow-same-origin" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        "/files/../secret.mp4",
        "/files/run/../../secret.mp4",
        "/files/run/%2e%2e/%2e%2e/secret.mp4",
        "/files/..%2fsecret.mp4",
        "/files/%2e%2e%2fsecret.mp4",
        "/files//BASE/secret.mp4",
        "/files/%2FBASE/secret.mp4",
        "/files/BASE/secret.mp4",
        "/files/run/shards/00000/videos/link.mp4",
        "/files/linked/report/index.html",
        "/files/run/manifest.parquet",
        "/files/run/run.yaml",
        "/files/run",
        "/files/run/shards/00000/videos/x.mp4%00.html",
        "/files/..\\secret.mp4",
        "/gradio_api/file=BASE/secret.mp4",
        "/gradio_api/file=%2F/BASE/secret.mp4",
        "/gradio_api/file=root/run/shards/00000/videos/x.mp4",
        "/gradio_api/file=/etc/hostname",
        "/gradio_api/file=http://127.0.0.1/",
        "/gradio_api/file=TEMP/../../../../../../etc/hostname",
        "/gradio_api/file/etc/hostname",
        "/gradio_api/proxy=http://127.0.0.1/",
        "/static/../../../../../../../../etc/hostname",
        "/static/..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc/hostname",
        "/assets/..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc/hostname",
        "/svelte/..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc/hostname",
        "/posters/run/shards/00000/videos/link.mp4",
        "/posters/../secret.mp4",
        "/posters/run/run.yaml",
        "/posters/run/report/index.html",
        "/selections/../files/run/run.yaml",
        "/selections/other.parquet?run=run&status=ok",
        "/selections/selection.parquet?run=..&status=ok",
        "/selections/selection.parquet?run=BASE&status=ok",
        "/selections/selection.parquet?run=linked&status=ok",
        "/selections/selection.parquet?run=run&status=ok",
        "/results/../files/run/run.yaml",
        "/results/none/video.mp4",
        "/results/..%2f..%2fsecret.mp4/video.mp4",
    ],
)
def test_nothing_else_can_be_read(server, root, path):
    path = path.replace("BASE", str(root.parent).lstrip("/") if "/BASE" in path else str(root.parent))
    answer = server.request(path.replace("TEMP", os.environ["GRADIO_TEMP_DIR"]))
    assert answer.status in (400, 403, 404), answer
    assert SECRET not in answer.body
    assert Path("/etc/hostname").read_bytes().strip() not in answer.body


@pytest.mark.parametrize(
    "path",
    [
        *(f"/gradio_api/{name}" for name in ("call/x", "run/x", "runs", "process_recording", "component_server")),
        *("/gradio_api/vibe-edit", "/gradio_api/openapi.json", "/monitoring", "/docs", "/openapi.json"),
    ],
)
def test_endpoints_of_gradio_that_the_page_does_not_use_are_blocked(server, path):
    for method in ("GET", "POST"):
        assert server.request(path, method=method, body=b"{}").status == 404


def test_an_upload_is_served_by_its_name_only_and_is_limited(server):
    answer = upload(server, b"a picture")
    assert answer.status == 200
    (path,) = json.loads(answer.body)
    assert server.request(f"/gradio_api/file={path}").body == b"a picture"
    assert Path(path).is_relative_to(os.environ["GRADIO_TEMP_DIR"])
    assert upload(server, bytes(30_000)).status == 413
    large = [p for p in Path(os.environ["GRADIO_TEMP_DIR"]).rglob("*") if p.is_file() and p.stat().st_size > 15_000]
    assert all("examples" in str(p) or p.suffix in (".jpg", ".flac") for p in large)


def test_a_video_that_cannot_be_decoded_has_an_empty_poster(server):
    answer = server.request("/posters/run/shards/00000/videos/x.mp4")
    assert (answer.status, answer.body) == (204, b"")


def test_requests_from_other_sites_are_refused(server):
    assert server.request("/", host="127.0.0.1:80").status == 200
    assert server.request("/", host="[::1]:80").status == 200
    assert server.request("/", host="localhost").status == 200
    for name in ("evil.example", "127.0.0.1.evil.example", "evil.example:7862", ""):
        assert server.request("/", host=name).status == 421
    assert upload(server, b"x", Origin="http://evil.example").status == 403
    assert upload(server, b"x", Origin="null").status == 403
    assert upload(server, b"x", Origin=server.address).status == 200


def test_headers_restrict_the_page_to_this_site(server):
    headers = server.request("/").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert "http" not in headers["content-security-policy"]


def test_with_a_password_nothing_is_served_without_it(root):
    credentials = "Basic " + base64.b64encode(f"x:{PASSWORD}".encode()).decode()
    with serve_root(root, password=PASSWORD) as server:
        video = "/files/run/shards/00000/videos/x.mp4"
        for path in ("/", "/config", "/theme.css", "/assets/x.js", "/gradio_api/info", "/gradio_api/queue/join", video):
            answer = server.request(path)
            assert (answer.status, "www-authenticate" in answer.headers) == (401, True), path
        assert server.request("/", Authorization="Basic eDp5").status == 401
        assert upload(server, b"x").status == 401
        for path in ("/", "/config", video):
            assert server.request(path, Authorization=credentials).status == 200


def test_the_temporary_folder_is_removed_with_the_server(root):
    with serve_root(root) as server:
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        (path,) = json.loads(upload(server, b"a picture").body)
        assert Path(path).exists()
        assert folder.is_relative_to(tempfile.gettempdir())
    assert not folder.exists()


def test_no_file_is_written_to_the_working_directory(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with serve_root(root) as server:
        assert server.request("/").status == 200
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "error"),
    [({"models": "joyvasa"}, ModelError), ({"devices": ["cuda:77"]}, EnvironmentFault)],
)
def test_missing_models_and_devices_are_reported_at_once(root, tmp_path, monkeypatch, options, error):
    monkeypatch.setenv("JOYVASA_MODELS", str(tmp_path))
    with pytest.raises(error), serve_root(root, **options):
        pass


def test_a_port_in_use_is_reported_at_once(server):
    from pipelines.web.server import open_listener

    with pytest.raises(EnvironmentFault, match="choose another --port"), open_listener("127.0.0.1", server.port):
        pass


def test_a_missing_root_is_reported_at_once(root):
    with pytest.raises(ConfigError), serve_root(root / "nothing"):
        pass
