"""Members of archives: they are found, bounded, and fetched once; damaged archives give one sentence."""

import gzip
import http.server
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from joyvasa.errors import InputError
from stages import containers, media
from stages.media import local_file, open_stream
from stages.media_cache import MediaCacheConfig
from tests.http_server import serve_http
from tests.stages.archives import MEMBERS, SUFFIXES, build_archive


@pytest.fixture
def cache(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return MediaCacheConfig(str(tmp_path), 10_000_000)


def build_table():
    sink = io.BytesIO()
    pq.write_table(pa.table({"image": [b"picture %d" % i for i in range(50)]}), sink)
    return sink.getvalue()


def read(location, cache=None):
    with local_file(location, cache) as path:
        content = path.read_bytes()
    with open_stream(location, cache) as stream:
        assert stream.read() == content
    return content


@pytest.fixture
def server(tmp_path):
    """A server of `content`, whose requests are counted by path."""
    content, requests = {}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            found = content.get(self.path)
            self.send_response(200 if found is not None else 404)
            self.send_header("Content-Length", str(len(found or b"")))
            self.end_headers()
            if self.command == "GET":
                requests.append(self.path)
                self.wfile.write(found or b"")

        do_HEAD = do_GET  # noqa: N815 (name required by the base class)

        def log_message(self, *_):
            pass

    with serve_http(Handler) as address:
        yield address, content, requests


@pytest.mark.parametrize("kind", SUFFIXES)
@pytest.mark.parametrize("cached", [False, True])
def test_members_of_archives_are_read(tmp_path, cache, kind, cached):
    path = tmp_path / f"set{SUFFIXES[kind]}"
    path.write_bytes(build_archive(kind))
    for name, content in MEMBERS.items():
        location = f"{kind.partition('.')[0]}://{name}::{path}"
        assert read(location, cache if cached else None) == content


def test_a_member_of_a_member_is_read(tmp_path, cache):
    (tmp_path / "outer.zip").write_bytes(build_archive("zip", {"inner.tar": build_archive("tar")}))
    assert read(f"tar://b.wav::zip://inner.tar::{tmp_path}/outer.zip", cache) == MEMBERS["b.wav"]


def test_remote_files_archives_and_tables_are_fetched_once(server, cache):
    address, content, requests = server
    content |= {"/a.png": b"face", "/set.tar.gz": build_archive("tar.gz"), "/set.parquet": build_table()}
    for _ in range(3):
        assert read(f"{address}/a.png", cache) == b"face"
        for name, member in MEMBERS.items():
            assert read(f"tar://{name}::{address}/set.tar.gz", cache) == member
        for row in (1, 20, 50):
            assert read(f"cell://image/{row}::{address}/set.parquet", cache) == b"picture %d" % (row - 1)
    assert sorted(requests) == ["/a.png", "/set.parquet", "/set.tar.gz"]


def test_the_cells_of_a_row_group_are_decoded_once(tmp_path, cache, monkeypatch):
    (tmp_path / "set.parquet").write_bytes(build_table())
    calls, original = [], media.read_cells
    monkeypatch.setattr(media, "read_cells", lambda *a: calls.append(a) or original(*a))
    for row in range(50, 0, -1):
        assert read(f"cell://image/{row}::{tmp_path}/set.parquet", cache) == b"picture %d" % (row - 1)
    assert len(calls) == 1


@pytest.mark.parametrize("kind", SUFFIXES)
def test_the_members_of_a_fetched_archive_are_listed_once(server, cache, kind):
    address, content, _ = server
    content[f"/set{SUFFIXES[kind]}"] = build_archive(kind)
    n_listed = containers._open_archive.cache_info().misses
    for name, member in MEMBERS.items():
        assert read(f"{kind.partition('.')[0]}://{name}::{address}/set{SUFFIXES[kind]}", cache) == member
    assert containers._open_archive.cache_info().misses == n_listed + 1


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("name", ["c.png", "../b.wav", "faces", "/etc/passwd", ""])
def test_a_member_that_is_not_there_is_missing(tmp_path, kind, name):
    path = tmp_path / f"set.{kind}"
    path.write_bytes(build_archive(kind))
    with pytest.raises(InputError, match=r"file_missing: .*the archive has no such file"):
        read(f"{kind}://{name}::{path}")


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize("damage", ["cut", "noise", "empty"])
def test_a_damaged_archive_is_named(tmp_path, cache, kind, damage):
    content = build_archive(kind)
    content = {"cut": content[: len(content) // 2], "noise": b"\x1f\x8bnoise" * 300, "empty": b""}[damage]
    path = tmp_path / f"set{SUFFIXES[kind]}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"archive_unreadable|file_missing"):
        read(f"{kind.partition('.')[0]}://b.wav::{path}", cache)


@pytest.mark.parametrize("place", ["continuation", "page", "footer"])
def test_a_damaged_table_is_named(tmp_path, cache, place):
    """Arrow raises OSError, as a failing disk does, but trying again does not help."""
    table = pa.table({"image": [b"picture" * 1000]})
    path = tmp_path / ("set.arrow" if place == "continuation" else "set.parquet")
    if place == "continuation":
        path.write_bytes(b"\xff\xff\xff\xff\xff\xff\xff\xff" * 20)
    else:
        pq.write_table(table, path, compression="snappy", use_dictionary=False)
        content = bytearray(path.read_bytes())
        at = 60 if place == "page" else len(content) - 30
        content[at : at + 20] = b"\xff" * 20
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"archive_unreadable: cell://image/1::.*/set"):
        read(f"cell://image/1::{path}", cache)


def test_a_zip_archive_with_an_offset_outside_of_it_is_named(tmp_path, cache):
    content = bytearray(build_archive("zip"))
    end = content.rindex(b"PK\x05\x06")
    content[end + 16 : end + 20] = (2**31).to_bytes(4, "little")  # so members seem to begin before the file
    (tmp_path / "set.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"archive_unreadable: zip://b.wav::"):
        read(f"zip://b.wav::{tmp_path}/set.zip", cache)


def test_an_archive_that_does_not_exist_and_an_encrypted_one_are_named(tmp_path):
    with pytest.raises(InputError, match=r"file_missing: .*no such archive"):
        read(f"zip://a.png::{tmp_path}/none.zip")
    content = bytearray(build_archive("zip", {"a.png": b"face"}))
    for header, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(header) + offset] |= 1  # the flag of encryption
    (tmp_path / "locked.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"archive_unreadable: .*encrypted"):
        read(f"zip://a.png::{tmp_path}/locked.zip")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_huge_member_is_refused(tmp_path, cache, kind, monkeypatch):
    monkeypatch.setattr(media, "MAX_BYTES", 1 << 20)
    path = tmp_path / f"bomb.{kind}"
    path.write_bytes(build_archive(kind, {"a.png": bytes(2 << 20)}))
    with pytest.raises(InputError, match=r"file_too_large: .*more than"):
        read(f"{kind}://a.png::{path}", cache)


def test_an_archive_that_unpacks_to_more_than_the_cache_is_refused(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(media, "MAX_BYTES", 1 << 20)
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(gzip.compress(bytes(20_000_000)))
    with pytest.raises(InputError, match="file_too_large"):
        read(f"tar://a.png::{path}", cache)
    assert sum(file.stat().st_size for file in (tmp_path / "tmp").rglob("*") if file.is_file()) == 0
