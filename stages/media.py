"""Access to the media files of a row, local or remote."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import urlsplit

import pyarrow as pa

from joyvasa.errors import InputError
from joyvasa.runtime import locations
from joyvasa.runtime.files import check_regular
from joyvasa.runtime.locations import is_remote, open_filesystem, split_member
from manifests.cells import SCHEME as CELL
from manifests.cells import read_cells
from manifests.problems import safe_text
from manifests.scratch import scratch_folder
from stages.containers import BAD_ARCHIVE, SCHEMES, find_decompressor, open_member, unreadable_archive
from stages.media_cache import MediaCacheConfig, open_cache

MISSING_STATUS = (404, 410)  # HTTP: not found, gone
RETRIED_STATUS = (408, 425, 429)  # HTTP: request timeout, too early, too many requests


@contextmanager
def standard_errors(location: str) -> Generator[None]:
    """Convert errors of object stores and HTTP servers into InputError (permanent) and OSError (a retry may help)."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        converted = _standard_error(location, error)
        if converted is error:  # it must not become its own cause: the chain of causes would have no end
            raise
        raise converted from error


def _standard_error(location: str, error: Exception) -> Exception:
    # fsspec raises FileNotFoundError for every failed HTTP request; the chain of causes has the actual error.
    chain = list(_causes(error))
    answer = next((cause for cause in chain if isinstance(getattr(cause, "status", None), int)), None)
    status = answer.status if answer else None  # type: ignore[attr-defined]
    network = next((cause for cause in chain if type(cause).__module__.partition(".")[0] == "aiohttp"), None)
    timed_out = next((cause for cause in chain if isinstance(cause, TimeoutError)), None)

    if status in MISSING_STATUS or (isinstance(error, FileNotFoundError) and not (status or network or timed_out)):
        return InputError("file_missing", f"{location}: no such file: check the address")
    if isinstance(error, PermissionError) or (status and 400 <= status < 500 and status not in RETRIED_STATUS):
        reason = f"HTTP {status}" if status else error
        return InputError(
            "file_refused", f"{location}: access refused ({reason}); expected a readable file: check the credentials"
        )
    if status:
        headers = getattr(answer, "headers", None) or {}
        sentence = f"{location}: HTTP {status}: the server cannot deliver it now"
        return RemoteError(sentence, answered=True, retry_after=headers.get("Retry-After"))
    if timed_out:
        return RemoteError(f"{location}: no answer within {locations.READ_S:g} s")
    if network:
        return RemoteError(f"{location}: cannot be fetched ({type(network).__name__}: {network})")
    if isinstance(error, OSError):
        return error
    return OSError(f"{location}: cannot be fetched ({type(error).__name__}: {error})")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__cause__ or error.__context__


class RemoteError(OSError):
    """A server did not deliver a file; a retry may help.

    Args:
        sentence: description of the failure.
        answered: whether the server answered.
        retry_after: value of the HTTP header `Retry-After`; only seconds are understood.

    Attributes:
        answered: whether the server answered.
        retry_after_s: time that the server asks to wait, seconds.
    """

    def __init__(self, sentence: str, *, answered: bool = False, retry_after: str | None = None) -> None:
        super().__init__(sentence)
        self.answered = answered
        self.retry_after_s = float(retry_after) if retry_after and retry_after.strip().isdecimal() else 0.0


MAX_BYTES = 4 << 30  # maximum size of a fetched file, so that one row cannot fill the disk
CHUNK_BYTES = 1 << 20


@contextmanager
def local_file(location: str, cache: MediaCacheConfig | None = None) -> Generator[Path]:
    """Yield a local path of a file.

    A remote file, a member of an archive (`tar://`, `zip://`) and the media in a cell of a table (`cell://`) are copied
    to the local disk. Containers that are remote, or members of others, are copied as a whole.

    Args:
        location: absolute local path or URI.
        cache: cache for the copies; without one, they are removed when the block ends.

    Raises:
        InputError: `file_missing`, `file_refused`, `file_too_large` or `archive_unreadable`. A missing local file is
            reported by its reader.
        OSError: the file cannot be fetched; a retry may help.
    """
    if not is_remote(location):
        yield Path(location)
        return
    with _open_copy(location, MAX_BYTES, cache) as path, named_errors(path, location):
        yield path


@contextmanager
def named_errors(path: Path, location: str) -> Generator[None]:
    """Let errors about a copy name its location, which the user knows, instead of its path."""
    try:
        yield
    except InputError as error:
        sentence = error.sentence.replace(str(path), safe_text(location, 200))
        raise InputError(error.code, sentence) from error


@contextmanager
def open_stream(location: str, cache: MediaCacheConfig | None = None) -> Generator[BinaryIO]:
    """Open a file for one sequential read.

    Args:
        location: absolute local path or URI.
        cache: see `local_file`; without one, a remote file is not copied.

    Raises:
        InputError: `file_missing`, `file_refused`, `file_too_large` or `archive_unreadable`, for a URI.
        OSError: the file cannot be opened or read; ENXIO if it is not a regular file, for example a pipe.
    """
    if is_remote(location):
        if cache or split_member(location):
            with local_file(location, cache) as path, path.open("rb") as stream:
                yield stream
            return
        with standard_errors(location):
            fs, path = open_filesystem(location)
            with fs.open(path, "rb") as stream:
                yield cast(BinaryIO, stream)
        return
    check_regular(location)
    with open(location, "rb", buffering=0) as stream:
        yield cast(BinaryIO, stream)


@contextmanager
def _open_copy(location: str, limit: int, cache: MediaCacheConfig | None) -> Generator[Path]:
    """Yield a local copy of what a URI refers to, of at most `limit` bytes."""
    parts = split_member(location)
    with ExitStack() as stack:
        if not parts or parts[0] not in SCHEMES:
            yield stack.enter_context(_copy(location, cache, lambda target: _download(location, target, limit)))
            return

        scheme, member, container = parts
        container_limit = max(MAX_BYTES, cache.max_bytes if cache else 0)
        archive = Path(container)
        if is_remote(container):
            archive = stack.enter_context(_open_copy(container, container_limit, cache))
        if not archive.is_file():
            raise InputError("file_missing", f"{location}: no such archive; expected a file: check the path")
        if scheme == CELL:
            yield stack.enter_context(_copy_cell(location, member, container, archive, cache))
            return

        if scheme == "tar" and (decompress := find_decompressor(archive)):

            def unpack(target: Path) -> None:
                with _archive_errors(location), decompress(archive) as source:
                    _write(source, target, location, container_limit)

            archive = stack.enter_context(_copy(f"{container}#decompressed", cache, unpack))

        def extract(target: Path) -> None:
            with open_member(scheme, member, archive, location) as (source, size):
                if size > limit:
                    raise _too_large(location, limit)
                _write(source, target, location, limit, size)

        yield stack.enter_context(_copy(location, cache, extract))


@contextmanager
def _copy(
    location: str, cache: MediaCacheConfig | None, make: Callable[[Path], object], *, lock: str = ""
) -> Generator[Path]:
    """Yield a local file with the content of a URI, which `make` writes if it is not in the cache."""
    with ExitStack() as stack:
        if cache:
            yield stack.enter_context(open_cache(cache).entry(location, make, lock=lock))
            return
        name = posixpath.basename(location.partition("::")[0])[-64:]  # shown in error messages
        target = Path(stack.enter_context(scratch_folder()), name if name.strip(".") else "file")
        make(target)
        yield target


@contextmanager
def _copy_cell(
    location: str, member: str, container: str, table: Path, cache: MediaCacheConfig | None
) -> Generator[Path]:
    """Yield a local file with the media of a cell; the neighbors of the cell go into the cache, too."""

    def extract(target: Path) -> None:
        found = False
        try:
            for name, content in read_cells(table, member):
                if name == member:
                    target.write_bytes(content)
                    found = True
                elif cache:
                    open_cache(cache).add([(f"{CELL}://{name}::{container}", content)])
        except (LookupError, pa.ArrowException, OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # of the disk; Arrow sets none for damaged files
                raise
            raise unreadable_archive(location, error) from error
        if not found:
            raise InputError("file_missing", f"{location}: the cell is empty; expected media: check the table")

    with _copy(location, cache, extract, lock=container) as path:
        yield path


def _download(location: str, target: Path, limit: int) -> None:
    with standard_errors(location):
        fs, path = open_filesystem(location)
        with fs.open(path, "rb") as source:
            _write(cast(BinaryIO, source), target, location, limit)


def _write(source: BinaryIO, target: Path, location: str, limit: int, size: int | None = None) -> None:
    """Copy a stream, or its first `size` bytes, to a file; fail if there are more than `limit`."""
    rest = limit + 1 if size is None else size
    with target.open("wb") as file:
        while rest and (chunk := source.read(min(CHUNK_BYTES, rest))):
            file.write(chunk)
            rest -= len(chunk)
    if size is None and not rest:
        raise _too_large(location, limit)
    if size is not None and rest:
        raise InputError("archive_unreadable", f"{location}: the archive ends early: copy or make it again")


def _too_large(location: str, limit: int) -> InputError:
    size = f"more than {limit / 2**30:.3g} GiB"
    return InputError("file_too_large", f"{location}: {size}; expected less: use a smaller file")


@contextmanager
def _archive_errors(location: str) -> Generator[None]:
    try:
        yield
    except (*BAD_ARCHIVE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk; decompressors set none
            raise
        raise unreadable_archive(location, error) from error


def parse_host(location: str) -> str | None:
    """Return the host of an HTTP address, or of that of an archive; None for other locations.

    Raises:
        InputError: `file_missing` if the address is none.
    """
    try:
        parts = urlsplit(location.rpartition("::")[2])
    except ValueError as error:
        shown = safe_text(location, 200)
        raise InputError("file_missing", f"{shown}: no such address ({error}): check the address") from None
    return parts.netloc if parts.scheme in ("http", "https") else None
