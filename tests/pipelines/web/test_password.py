"""The password comes from the environment or a file; without one only this machine is served."""

import base64
import os

import pytest

from joyvasa.errors import ConfigError
from pipelines.web.password import is_loopback, password_matches, read_password, require_password


def basic(text):
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_it_comes_from_the_first_line_of_the_file_before_the_environment(tmp_path):
    (tmp_path / "password").write_text("correct horse\nsecond line\n")
    environment = {"JOYVASA_WEB_PASSWORD": "battery staple"}
    assert read_password(tmp_path / "password", environment) == "correct horse"
    assert read_password(None, environment) == "battery staple"
    assert read_password(None, {}) is None


def test_a_byte_order_mark_is_not_a_part_of_it(tmp_path):
    (tmp_path / "password").write_text("correct horse\n", encoding="utf-8-sig")
    assert read_password(tmp_path / "password", {}) == "correct horse"


def test_it_may_hold_bytes_that_are_no_text():
    password = os.fsdecode(b"correct\xff")
    assert password_matches("Basic " + base64.b64encode(b"me:correct\xff").decode(), password)
    assert not password_matches(basic("me:correct"), password)


@pytest.mark.parametrize("content", [None, b"", b"short", b"\xff\xfe\xfd"])
def test_a_file_without_a_usable_password_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "password").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_password(tmp_path / "password", {})
    assert caught.value.code in ("password_unreadable", "password_weak")
    assert str(tmp_path) in caught.value.sentence


@pytest.mark.parametrize(
    ("host", "local"),
    [
        *((host, True) for host in ("127.0.0.1", "127.8.9.1", "localhost", "::1")),
        *((host, False) for host in ("0.0.0.0", "::", "192.168.1.4", "example.org", "")),
    ],
)
def test_other_addresses_than_loopback_require_a_password(host, local):
    assert is_loopback(host) == local
    require_password(host, "correct horse")
    if local:
        require_password(host, None)
    else:
        with pytest.raises(ConfigError, match="JOYVASA_WEB_PASSWORD"):
            require_password(host, None)


@pytest.mark.parametrize(
    ("header", "known"),
    [
        (basic("anybody:correct horse"), True),
        (basic(":correct horse").replace("Basic", "bAsIc"), True),
        (basic("anybody:correct:horse"), False),
        (basic("correct horse"), False),
        (basic("anybody:"), False),
        ("Bearer correct horse", False),
        ("Basic %%%", False),
        (None, False),
    ],
)
def test_a_request_must_have_the_password(header, known):
    assert password_matches(header, "correct horse") == known


def test_a_password_may_hold_any_characters():
    assert password_matches(basic("x:ünï:cödé"), "ünï:cödé")
