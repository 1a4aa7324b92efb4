"""The JoyVASA method: one portrait and one recording become one talking video."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import pandas as pd
    import pyarrow.dataset

__version__ = "0.1.0"


def results(
    run: str | os.PathLike[str],
    columns: Sequence[str] | None = None,
    filter: pyarrow.dataset.Expression | None = None,
) -> pd.DataFrame:
    """Read the outcome rows of a run: one row for every record of the finished shards, in the order of the manifest.

    A run in progress, or one that stopped, has the rows of the shards that are finished so far.

    | column | what it holds |
    |---|---|
    | `record_id`, `row`, `shard` | the record, its row in the manifest, its shard |
    | `status` | `ok`, `failed`, or `quarantined` (it crashed its worker, or hung) |
    | `stage`, `error_code`, `error` | the stage where the record ended; for records without a video why |
    | `attempts`, `seconds_<stage>` | how often it was tried, and its share of the time of each stage |
    | `video`, `frames`, `duration_s`, `sha256`, `motion_file` | the result; paths are relative to the run folder |
    | `seed`, `bundle`, `licenses` | the seed of the motion, the weights, and their licenses (a list) |
    | `image`, `audio`, `motion`, `input_video`, `mode`, `cfg_scale`, `priority` | the record, as in the manifest |
    | `image_sha256`, `audio_sha256`, `motion_sha256` | hashes of the files that it names |
    | `n_faces`, `warnings`, `warning_codes` | faces found in the portrait, and what is unusual about it |
    | `metric_<name>`, `metric_reasons` | metrics of the video; JSON that says why numbers are missing |
    | all others | columns of the manifest, passed through; `input_<name>` where the name is taken |

    A column that only some shards have is missing (NA) in the rows of the others. Columns of whole numbers and of truth
    values have the nullable pandas types, texts the text type of the installed pandas, all other numbers float64.

    Args:
        run: run folder, a local path or any fsspec URI (`s3://`, `gs://` ...).
        columns: names of the columns to read; None for all.
        filter: rows to read, for example `pyarrow.dataset.field("status") == "ok"`; None for all.

    Raises:
        InputError: `run_missing`, `records_unreadable`, or `column_unknown`.
    """
    from joyvasa.result_tables import read_results

    return read_results(run, columns, filter)
