"""The password of the page: from the environment or a file, never from the command line, where `ps` shows it."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path

from joyvasa.errors import ConfigError
from joyvasa.runtime.parsing import read_limited

VARIABLE = "JOYVASA_WEB_PASSWORD"
MIN_CHARACTERS = 8


def read_password(file: Path | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """Read the password from a file, or else from `JOYVASA_WEB_PASSWORD`; return None if neither is given.

    Args:
        file: file whose first line is the password, or None.
        environment: environment variables.

    Raises:
        ConfigError: `password_unreadable` or `password_weak`.
    """
    if file is not None:
        try:
            with file.open("rb") as stream:
                lines = read_limited(stream).decode("utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not text"
            raise ConfigError(
                "password_unreadable", f"{file}: cannot be read ({reason}): check --password-file"
            ) from None
        password, where = (lines[0] if lines else ""), str(file)
    elif VARIABLE in environment:
        password, where = environment[VARIABLE], VARIABLE
    else:
        return None
    if len(password) < MIN_CHARACTERS:
        found = f"the password has {len(password)} characters"
        raise ConfigError("password_weak", f"{where}: {found}; expected at least {MIN_CHARACTERS}: choose a longer one")
    return password


def require_password(host: str, password: str | None) -> None:
    """Refuse to listen for other machines without a password.

    Raises:
        ConfigError: `password_missing`.
    """
    if password is None and not is_loopback(host):
        raise ConfigError(
            "password_missing",
            f"--host is {host}, which other machines reach; expected a password: put one into {VARIABLE} or into a "
            "file for --password-file, or leave --host away and use an SSH tunnel",
        )


def is_loopback(host: str) -> bool:
    """Return whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def password_matches(header: str | None, password: str) -> bool:
    """Return whether the header `Authorization` has the password, with any user name; compares in constant time."""
    scheme, _, encoded = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        _, _, given = base64.b64decode(encoded, validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(given, os.fsencode(password))
