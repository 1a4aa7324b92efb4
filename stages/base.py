"""The contract of a stage: what goes in, what comes out, how failure is told."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from joyvasa.errors import ConfigError, InputError, JoyvasaError, OutputError
from manifests.errors import ManifestError

Fact: TypeAlias = "int | float | str | bool | None"
"""A small value that may leave the worker: a count, a duration, a hash, a file name. Never a tensor."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One row of the manifest on its way through the stages.

    Attributes:
        id: unique within the run.
        row: the columns of the row; read only.
        seed: of the record's own random generator, so that batch make-up, order and retries change no result.
        priority: higher is admitted earlier.
    """

    id: str
    row: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    priority: float = 0.0


@dataclass(frozen=True)
class Item:
    """What a stage gets for one record.

    Attributes:
        record: the record. A stage whose results are shared sees one of the records that share it and must use
            nothing of it but what the key covers.
        inputs: payloads by the name of the upstream stage. Arrays in them may be read-only.
    """

    record: Record
    inputs: Mapping[str, Any] = field(default_factory=dict)


class Kind(StrEnum):
    """What a failure means for the record."""

    BAD_INPUT = "bad_input"  # final: trying again gives the same result. The record fails
    IO = "io"  # a file or service did not answer: tried again with back-off, then the record fails
    OUT_OF_MEMORY = "out_of_memory"  # tried again in a smaller batch, then quarantined
    POISON = "poison"  # a result nobody may use (not a number), or an unexpected error: quarantined
    STOP = "stop"  # nothing can go on (disk full, folder read-only): the run stops and can be resumed


@dataclass(frozen=True)
class Ok:
    """A record passed the stage.

    Attributes:
        payload: for the stages downstream; anything that pickles. Large data should be numpy arrays, which travel
            without a copy. `None` where nobody needs one.
        facts: small values for buckets, statistics and the outcome row. `bytes` (size of the payload) is counted
            against the memory that a run may hold; numbers are summed up in the statistics.
    """

    payload: Any = None
    facts: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """A record did not pass the stage.

    Attributes:
        kind: what it means.
        code: stable, lower case with underscores, for example `audio_unreadable`.
        sentence: names the thing, what was found, what was expected, what to do.
    """

    kind: Kind
    code: str
    sentence: str


Outcome: TypeAlias = "Ok | Failed"


class Stage(ABC):
    """A unit of work that knows nothing of what runs it.

    A stage is made from a frozen dataclass with its settings, is sent to its worker, and only there loads what it
    needs:

        class PortraitStage(Stage):
            def __init__(self, config: PortraitConfig) -> None:
                self.config = config

            def setup(self) -> None:
                self.extractor = open_bundle(self.config.models).network("appearance_feature_extractor")

            def run(self, batch: Sequence[Item]) -> list[Outcome]:
                return [self._extract(item) for item in batch]
    """

    def setup(self) -> None:  # noqa: B027 (nothing to load is a fine default)
        """Loads models and opens what `run` needs; called once in every worker, before the first batch.

        Raises:
            Exception: anything; its text is shown to the user when no worker of the stage can start.
        """

    @abstractmethod
    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Works on a batch.

        It may be called again for the same record, after a crash or for a lost payload, and must then give the same.

        Args:
            batch: at least one item. Which records share a batch is chance and must not change a result.

        Returns:
            One outcome per item, in the order of the batch. Bad input is an outcome, not an exception; an exception
            counts against the whole batch, which is then run again in halves until the record is found.
        """


_STOPPING = {errno.ENOSPC, errno.EROFS, errno.EDQUOT}  # disk full, read-only, quota: no record is to blame


def failure_of(error: BaseException) -> Failed:
    """Sorts an exception.

    Args:
        error: what was raised while working on a record or a batch.

    Returns:
        The failure it stands for, with the code of the exception where it has one.
    """
    name = type(error).__name__
    if isinstance(error, InputError | ConfigError):
        return Failed(Kind.BAD_INPUT, error.code, error.sentence)
    cause = error if isinstance(error, OSError) else error.__cause__
    if isinstance(cause, OSError) and cause.errno in _STOPPING:
        return Failed(Kind.STOP, "disk_unwritable", _text(error))
    if isinstance(error, JoyvasaError | ManifestError):
        kind = Kind.IO if isinstance(error, OutputError) or isinstance(cause, OSError) else Kind.POISON
        return Failed(kind, error.code, error.sentence)
    if isinstance(error, MemoryError) or name == "OutOfMemoryError":  # torch.cuda.OutOfMemoryError, torch not imported
        return Failed(Kind.OUT_OF_MEMORY, "out_of_memory", _text(error))
    if isinstance(error, OSError):
        return Failed(Kind.IO, "io_error", _text(error))
    return Failed(Kind.POISON, "unexpected_error", _text(error))


def _text(error: BaseException, limit: int = 500) -> str:
    """Type and text of an exception on one line, cut to `limit` characters."""
    text = " ".join(str(error).split())
    name = type(error).__name__
    return (f"{name}: {text}" if text else name)[:limit]
