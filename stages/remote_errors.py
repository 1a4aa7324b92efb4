"""Errors of object stores and HTTP servers."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager

from joyvasa.errors import InputError
from joyvasa.runtime import locations

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
