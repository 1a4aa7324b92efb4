"""The JoyVASA method: make a talking video from a portrait and a recording of speech."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import pyarrow.dataset

__version__ = "0.1.0"

# Read when PyTorch is imported. Its threads otherwise wait actively for each other after each operation; beside another
# program that keeps the cores busy, this makes small networks a hundred times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# OpenCV reads this when it is imported, and PyTorch the other. Without it, OpenCV uses all cores in each worker of a
# cluster, although Ray gives workers their share of threads by OMP_NUM_THREADS.
if "OMP_NUM_THREADS" in os.environ:
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", os.environ["OMP_NUM_THREADS"])


def results(
    run: str | os.PathLike[str],
    columns: Sequence[str] | None = None,
    filter: pyarrow.dataset.Expression | None = None,
) -> pd.DataFrame:
    """Read the outcome rows of a run: one row per record of the finished shards, in manifest order.

    A run that is in progress or was stopped has the rows of the shards finished so far.

    | column | content |
    |---|---|
    | `record_id`, `row`, `shard` | id of the record, its row in the manifest, its shard |
    | `status` | `ok`, `failed`, or `quarantined` (the record crashed its worker or timed out) |
    | `stage`, `error_code`, `error` | last stage of the record; error code and sentence if there is no video |
    | `attempts`, `seconds_<stage>` | number of attempts; the record's share of the time of each stage |
    | `video`, `frames`, `duration_s`, `sha256`, `motion_file` | result; paths are relative to the run folder |
    | `seed`, `bundle`, `licenses` | motion seed, model bundle, list of the licenses of its weights |
    | `image`, `audio`, `motion`, `input_video`, `mode`, `cfg_scale`, `priority` | values from the manifest |
    | `image_sha256`, `audio_sha256`, `motion_sha256` | hashes of the input files |
    | `image_phash` | perceptual hash of the portrait, in which copies differ by at most 3 of 64 bits |
    | `n_faces`, `warnings`, `warning_codes` | number of faces in the portrait, warnings about it |
    | `metric_<name>`, `metric_reasons` | metrics of the video; JSON with the reasons for missing values |
    | all others | other columns of the manifest; `input_<name>` if the name is taken |

    A column that exists in only some shards is NA in the rows of the others. Integer and boolean columns have the
    nullable pandas types, text columns the string type of the installed pandas, all other numbers float64. Columns of
    the manifest with values that pandas cannot hold, such as the year 0 in a time zone, are text.

    Args:
        run: run folder, a local path or any fsspec URI (`s3://`, `gs://` ...).
        columns: names of the columns to read; None reads all.
        filter: condition on rows, for example `pyarrow.dataset.field("status") == "ok"`; None reads all.

    Raises:
        InputError: `run_missing`, `records_unreadable`, or `column_unknown`.
    """
    from joyvasa.runtime.result_tables import read_results

    return read_results(run, columns, filter)
