"""What became of one record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from manifests.errors import ManifestError


class Status(StrEnum):
    """How a record ended."""

    OK = "ok"
    FAILED = "failed"  # it was tried and has a reason
    QUARANTINED = "quarantined"  # it took its process down, or hung


STATUSES: tuple[str, ...] = tuple(status.value for status in Status)


@dataclass(frozen=True, kw_only=True)
class RecordOutcome:
    """The result of one record: everything of its row that the manifest did not bring.

    Raises:
        ManifestError: `outcome_invalid` if the fields contradict one another.
    """

    record_id: str
    status: str  # one of `STATUSES`
    stage: str  # where it ended: the last stage, or the one that failed
    error_code: str | None = None
    error: str | None = None  # one sentence
    attempts: int = 1
    seconds: Mapping[str, float] = field(default_factory=dict)  # by stage, the record's share of its batches
    frames: int | None = None
    duration_s: float | None = None  # of the video
    seed: int | None = None  # that the motion was sampled with
    video: str | None = None  # path within the run folder
    sha256: str | None = None  # of the video
    motion_file: str | None = None  # path within the run folder, where motions are saved
    image_sha256: str | None = None  # of the files that the row names
    audio_sha256: str | None = None
    motion_sha256: str | None = None
    n_faces: int | None = None  # found in the picture; one of them is animated
    warnings: str | None = None  # sentences about the picture
    warning_codes: str | None = None  # of these sentences
    bundle: str | None = None
    licenses: tuple[str, ...] = ()
    facts: Mapping[str, int | float | str | bool | None] = field(default_factory=dict)  # further columns, by name
    metrics: Mapping[str, float | None] = field(default_factory=dict)  # by name
    metric_reasons: Mapping[str, str] = field(default_factory=dict)  # why there is no number, by name

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise self._invalid(f"status is {self.status!r}; expected {', '.join(STATUSES)}")
        if (self.status == "ok") != (self.error_code is None) or (self.error_code is None) != (self.error is None):
            raise self._invalid(f"status is {self.status} with error code {self.error_code!r} and error {self.error!r}")
        if self.attempts < 1:
            raise self._invalid(f"attempts is {self.attempts}; expected at least 1")

    def as_dict(self) -> dict[str, Any]:
        """The outcome as plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RecordOutcome:
        """The outcome that `as_dict` made plain; unknown entries of a newer version are dropped."""
        known = {entry.name for entry in fields(cls)}
        kept = {name: value for name, value in values.items() if name in known}
        return cls(**{**kept, "licenses": tuple(kept.get("licenses", ()))})

    def _invalid(self, reason: str) -> ManifestError:
        return ManifestError("outcome_invalid", f"outcome of {self.record_id!r}: {reason}")
