"""The outcome of one record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter

from manifests.problems import ManifestError


class Status(StrEnum):
    """Status of a record."""

    OK = "ok"
    FAILED = "failed"  # failed with an error
    QUARANTINED = "quarantined"  # crashed its worker, timed out, or gave an invalid result


STATUSES: tuple[str, ...] = tuple(status.value for status in Status)


@dataclass(frozen=True, kw_only=True)
class RecordOutcome:
    """The outcome of one record: the part of its outcome row that is not from the manifest.

    Raises:
        ManifestError: `outcome_invalid` if the fields contradict each other.
    """

    record_id: str  # id of the record, given or derived
    status: str  # `ok`, `failed`, or `quarantined`
    stage: str  # last stage of the record: the one that failed, or the last of the pipeline
    error_code: str | None = None  # stable code of the error
    error: str | None = None  # one sentence: what was found, what was expected, what to do
    attempts: int = 1  # number of attempts
    seconds: Mapping[str, float] = field(default_factory=dict)  # by stage: the record's share of its batches
    frames: int | None = None  # number of frames of the video
    duration_s: float | None = None  # duration of the video, seconds
    seed: int | None = None  # seed that the motion was sampled with
    video: str | None = None  # path of the generated video within the run folder
    sha256: str | None = None  # SHA-256 of the video
    motion_file: str | None = None  # path of the saved motion within the run folder, with `save_motion`
    image_sha256: str | None = None  # SHA-256 of the portrait
    image_phash: str | None = None  # perceptual hash of the portrait, 16 hexadecimal digits
    audio_sha256: str | None = None  # SHA-256 of the recording
    motion_sha256: str | None = None  # SHA-256 of the motion file of the row
    n_faces: int | None = None  # number of faces in the portrait; one of them is animated
    warnings: str | None = None  # warnings about the inputs, sentences separated by `; `
    warning_codes: str | None = None  # codes of the warnings, separated by commas
    bundle: str | None = None  # name and fingerprint of the model bundle
    licenses: tuple[str, ...] = ()  # licenses of the weights
    facts: Mapping[str, int | float | str | bool | None] = field(default_factory=dict)  # further columns, by name
    metrics: Mapping[str, float | None] = field(default_factory=dict)  # numbers by metric column
    metric_reasons: Mapping[str, str] = field(default_factory=dict)  # reasons for missing numbers, by metric column

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise self._invalid(f"status is {self.status!r}; expected {', '.join(STATUSES)}")
        if (self.status == "ok") != (self.error_code is None) or (self.error_code is None) != (self.error is None):
            raise self._invalid(f"status is {self.status} with error code {self.error_code!r} and error {self.error!r}")
        if self.attempts < 1:
            raise self._invalid(f"attempts is {self.attempts}; expected at least 1")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RecordOutcome:
        """Create an outcome from the result of `as_dict`; entries of a newer version are ignored.

        Raises:
            ValueError: an entry is missing or has the wrong type.
            ManifestError: `outcome_invalid`.
        """
        return _ADAPTER.validate_python(values)

    def _invalid(self, reason: str) -> ManifestError:
        return ManifestError("outcome_invalid", f"outcome of {self.record_id!r}: {reason}")


_ADAPTER = TypeAdapter(RecordOutcome)
