"""Local paths and `file:` URIs name the same files; `::` in a local path is part of the name."""

import pytest

from joyvasa.runtime.locations import get_local_path, is_remote, open_filesystem


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("file:///my%20pic.png", "/my pic.png"),
        ("file:/a/b.png", "/a/b.png"),
        ("file://localhost/a%25.png", "/a%.png"),
        ("FILE:///a.png", "/a.png"),
        ("file:///a%00b", "file:///a%00b"),
        ("file://a/b.png", "a/b.png"),
        ("local:///a%20b.png", "/a%20b.png"),
        ("/data/a::b/c%20d.png", "/data/a::b/c%20d.png"),
        ("file: a.png", "file: a.png"),
    ],
)
def test_a_file_uri_is_a_local_path(location, path):
    assert not is_remote(location)
    assert get_local_path(location) == path


def test_a_uri_of_another_system_stays_as_it_is():
    assert is_remote("s3://bucket/a%20b.png")
    assert get_local_path("s3://bucket/a%20b.png") == "s3://bucket/a%20b.png"


def test_two_colons_in_a_local_path_do_not_chain(tmp_path):
    file = tmp_path / "a::b" / "c.txt"
    file.parent.mkdir()
    file.write_bytes(b"x")
    fs, path = open_filesystem(str(file))
    assert fs.cat_file(path) == b"x"
