"""Options of the engine: how much is in flight and how failures are retried."""

from __future__ import annotations

from dataclasses import dataclass

from joyvasa.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Bounds of the work in flight and patience with failures.

    Raises:
        ConfigError: `engine_option`.
    """

    max_records: int | None = None  # in flight; none: twice as many as fill all workers
    max_bytes: int = 2 << 30  # of the payloads of records in flight, without shared results
    look_ahead: int = 1024  # records read ahead; priority decides among them
    start_limit_s: float = 1800.0  # a stage without any ready worker for longer stops the run
    io_retries: int = 3  # for a file or service that does not answer
    io_backoff_s: float = 1.0  # wait before the first of these retries; doubled for each further one
    io_backoff_max_s: float = 60.0  # longest wait
    solo_failures: int = 2  # failures alone in a batch before a record is quarantined
    solo_failures_max: int = 5  # the same while workers are lost for other reasons, too
    verdict_s: float = 10.0  # how long the verdict is deferred after a worker vanished or its GPU failed
    give_up_after: int = 16  # quarantined records of a stage that has never succeeded before the run stops

    def __post_init__(self) -> None:
        for name in ("max_records", "max_bytes", "look_ahead", "solo_failures", "give_up_after"):
            self._require_at_least(1, name)
        for name in ("start_limit_s", "io_retries", "io_backoff_s", "io_backoff_max_s", "verdict_s"):
            self._require_at_least(0, name)
        if self.solo_failures > self.solo_failures_max:
            found = f"solo_failures is {self.solo_failures}; expected 1 to solo_failures_max"
            raise ConfigError("engine_option", f"{found} ({self.solo_failures_max})")

    def _require_at_least(self, least: int, name: str) -> None:
        value = getattr(self, name)
        if value is not None and not value >= least:  # NaN is refused, too
            raise ConfigError("engine_option", f"{name} is {value}; expected at least {least}")
