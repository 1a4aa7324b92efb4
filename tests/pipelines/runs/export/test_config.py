"""Options of exports are checked before anything is read."""

import pytest

from joyvasa.errors import ConfigError
from pipelines.runs.export.config import ExportConfig, parse_size


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("500MB", 500_000_000), ("1GB", 10**9), ("1.5 GiB", 3 << 29), ("2k", 2000), ("1B", 1)]
)
def test_sizes_have_units(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "0.2", "-1GB", "1XB", "GB", "1e9", "nan", "9" * 400, "9" * 5000])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ConfigError, match="config_invalid: --shard-size: found"):
        parse_size(text)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"format": "zip"}, "--format: found 'zip'; expected one of webdataset, parquet, folder"),
        ({"format": "parquet", "media": "none"}, "--media: found 'none'; expected one of embed, files"),
        ({"media": "files"}, "--media: found 'files'; expected embed"),
        ({"inputs": True}, "--inputs: found 'webdataset'; expected parquet or folder"),
        ({"license": "my license"}, "--license: found 'my license'; expected an identifier"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, expected):
    with pytest.raises(ConfigError, match=expected):
        ExportConfig(**options)
