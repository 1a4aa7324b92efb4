"""Options of the engine are validated."""

import pytest

from joyvasa.errors import ConfigError
from pipelines.engine.config import EngineConfig


@pytest.mark.parametrize(
    "option",
    [{"max_records": 0}, {"max_bytes": -1}, {"look_ahead": 0}, {"io_retries": -1}, {"io_backoff_s": float("nan")}],
)
def test_an_option_out_of_range_is_refused_by_name(option):
    with pytest.raises(ConfigError, match=rf"engine_option: {next(iter(option))} is .*; expected at least"):
        EngineConfig(**option)


@pytest.mark.parametrize("option", [{"solo_failures": 0}, {"solo_failures": 6}, {"solo_failures_max": 1}])
def test_a_record_must_be_quarantined_eventually(option):
    with pytest.raises(ConfigError, match=r"engine_option: solo_failures is .*; expected"):
        EngineConfig(**option)
