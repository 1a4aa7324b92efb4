"""Options of the engine: how much is in flight and how failures are retried."""

from __future__ import annotations

from dataclasses import dataclass

from joyvasa.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Limits of the work in flight, and of retries.

    Raises:
        ConfigError: `engine_option` if a value is out of range.
    """

    max_records: int | None = None  # records in flight; null: twice as many as fill all workers
    max_bytes: int = 2 << 30  # memory for the payloads of records in flight, without shared results
    look_ahead: int = 1024  # records read ahead, among which the column `priority` decides
    start_limit_s: float = 1800.0  # a stage without a ready worker for longer stops the run
    io_retries: int = 3  # retries when a file or service does not answer
    io_backoff_s: float = 1.0  # wait before the first retry, doubled for each further one
    io_backoff_max_s: float = 60.0  # longest wait
    solo_failures: int = 2  # failures alone in a batch before a record is quarantined
    solo_failures_max: int = 5  # the same while workers are also lost for other reasons
    verdict_s: float = 10.0  # delay before quarantining after a worker vanished or its GPU failed
    give_up_after: int = 16  # quarantined records of a stage that has never succeeded before the run stops

    def __post_init__(self) -> None:
        for name in ("max_records", "max_bytes", "look_ahead", "solo_failures", "give_up_after"):
            self._require_at_least(1, name)
        for name in ("start_limit_s", "io_retries", "io_backoff_s", "io_backoff_max_s", "verdict_s"):
            self._require_at_least(0, name)
        if self.solo_failures > self.solo_failures_max:
            problem = f"solo_failures is {self.solo_failures}; expected 1 to solo_failures_max"
            raise ConfigError("engine_option", f"{problem} ({self.solo_failures_max})")

    def _require_at_least(self, least: int, name: str) -> None:
        value = getattr(self, name)
        if value is not None and not value >= least:  # also refuses NaN
            raise ConfigError("engine_option", f"{name} is {value}; expected at least {least}")
