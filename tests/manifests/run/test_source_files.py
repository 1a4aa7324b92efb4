"""Tables and archives with the media of a run are checked before it is resumed."""

import os
import shutil
from http.server import BaseHTTPRequestHandler

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.problems import ManifestError
from manifests.run.source_files import require_unchanged_files, sign_file
from tests.http_server import serve_http
from tests.manifests.tables import copied, pair, shards_of, write


def write_pictures(path, pictures):
    pq.write_table(pa.table({"image": pictures, "audio": ["s.wav"] * len(pictures)}), path, row_group_size=2)
    return path


def test_a_restored_copy_is_the_same_file(tmp_path):
    source = write_pictures(tmp_path / "set.parquet", [b"a", b"b"])
    run = copied(source, tmp_path / "run", 1)
    shutil.move(source, tmp_path / "old")
    shutil.copyfile(tmp_path / "old", source)
    os.utime(source, (0, 0))
    run.require_unchanged_media([0, 1])


def test_a_changed_table_is_refused_because_its_rows_may_be_others(tmp_path):
    source = write_pictures(tmp_path / "set.parquet", [b"a", b"b"])
    run = copied(source, tmp_path / "run", 1)
    write_pictures(source, [b"b", b"a"])
    with pytest.raises(ManifestError, match=rf"source_changed: {source}: changed .*rows may have other media"):
        run.require_unchanged_media([1])


def test_a_missing_archive_is_refused_only_while_rows_need_it(tmp_path):
    (tmp_path / "set").mkdir()
    write_pictures(tmp_path / "set" / "0.parquet", [b"a", b"b"])
    write_pictures(tmp_path / "set" / "1.parquet", [b"c", b"d"])
    run = copied(tmp_path / "set", tmp_path / "run", 2)
    (tmp_path / "set" / "0.parquet").unlink()
    run.require_unchanged_media([1])
    with pytest.raises(ManifestError, match=r"source_missing: .*/set/0.parquet: no such file; .* media of 2 rows"):
        run.require_unchanged_media([0, 1])


def test_rows_that_name_files_need_no_table(tmp_path):
    source = write(tmp_path / "m.parquet", [pair(n) for n in range(3)])
    run = copied(source, tmp_path / "run")
    source.unlink()
    run.require_unchanged_media([0])


def test_the_signatures_stay_in_the_file_of_rows(tmp_path):
    run = copied(write_pictures(tmp_path / "set.parquet", [b"a"]), tmp_path / "run")
    assert shards_of(run)[0].table.schema.metadata is None


def test_changes_of_a_large_file_are_seen_in_many_places(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(bytes(100_000))
    signatures = {sign_file(str(path))}
    for position in (0, 45_000, 99_999):
        with path.open("r+b") as file:
            file.seek(position)
            file.write(b"x")
        signatures.add(sign_file(str(path)))
    assert len(signatures) == 4


def test_remote_files_are_compared_by_what_their_server_says():
    class Handler(BaseHTTPRequestHandler):
        tag = '"1"'

        def do_HEAD(self):
            self.send_response(200 if self.tag else 404)
            self.send_header("Content-Length", "3")
            self.send_header("ETag", self.tag)
            self.end_headers()

        do_GET = do_HEAD  # noqa: N815 (name required by the base class)

        def log_message(self, *_):
            """Disable logging."""

    with serve_http(Handler) as address:
        location = f"{address}/set.tar"
        signatures = {location: sign_file(location)}
        require_unchanged_files(signatures, {location: 1})
        Handler.tag = '"2"'
        with pytest.raises(ManifestError, match="source_changed: http"):
            require_unchanged_files(signatures, {location: 1})
        Handler.tag = ""
        with pytest.raises(ManifestError, match="source_missing: http"):
            require_unchanged_files(signatures, {location: 1})
