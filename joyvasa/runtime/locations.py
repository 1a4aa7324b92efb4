"""Locations of files: local paths, `file:` URIs, and URIs of other file systems."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import unquote

from joyvasa.errors import install_command

CONNECT_S = 10.0  # time limit for a connection to an HTTP server, seconds
READ_S = 20.0  # time limit without a byte from an HTTP server, seconds

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_LOCAL_SCHEME = re.compile(r"(?:file|local)://", re.IGNORECASE)
_FILE_URI = re.compile(r"file:(?://(?:localhost)?(?=/)|(?=/(?!/)))", re.IGNORECASE)  # RFC 8089


def is_remote(location: str) -> bool:
    """Return whether a location is a URI that does not refer to a local file."""
    return bool(_SCHEME.match(location)) and not _LOCAL_SCHEME.match(location)


def is_http(location: str) -> bool:
    """Return whether a location is an HTTP address."""
    return location.lower().startswith(("http://", "https://"))


def get_local_path(location: str) -> str:
    """Return the path in a `file:` URI, with its percent-encoding removed; other locations are returned unchanged."""
    if match := _FILE_URI.match(location):
        path = unquote(location[match.end() :])
        return location if "\0" in path else path
    scheme = _LOCAL_SCHEME.match(location)
    return location[scheme.end() :] if scheme else location


def is_empty(location: str) -> bool:
    """Return whether a location names nothing; as a path it would be the working directory."""
    return not get_local_path(location).strip()


def is_same_file(first: str, second: str) -> bool:
    """Return whether two locations are the same existing file, also by a link; URIs are compared as text."""
    if is_remote(first) or is_remote(second):
        return first == second
    try:
        return os.path.samefile(os.path.expanduser(get_local_path(first)), os.path.expanduser(get_local_path(second)))
    except (OSError, ValueError):
        return False


def split_member(location: str) -> tuple[str, str, str] | None:
    """Split a location in a container, `tar://faces/a.png::/data/faces.tar`, into scheme, member and container.

    Return None if the location has no container. A local path may contain `::`.
    """
    head, chained, container = location.partition("::")
    if not (chained and is_remote(head)):
        return None
    scheme, _, member = head.partition("://")
    return scheme.lower(), member, container


def open_filesystem(location: str) -> tuple[Any, str]:
    """Return the fsspec file system of a location and the path on it; HTTP requests get time limits.

    A local path may contain `::`, with which fsspec chains URIs.

    Raises:
        ValueError: the scheme of the URI is unknown.
        ImportError: the package for the scheme is not installed.
    """
    from fsspec.core import url_to_fs
    from fsspec.implementations.local import LocalFileSystem

    if is_http(location):
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=READ_S)
        return url_to_fs(location, client_kwargs={"timeout": timeout})
    if is_remote(location):
        try:
            return url_to_fs(location)
        except ImportError:
            if location.partition("://")[0].lower() not in ("s3", "s3a"):
                raise
            raise ImportError(f"the package s3fs is not installed: {install_command('s3')}") from None
    return LocalFileSystem(), os.path.abspath(get_local_path(location))
