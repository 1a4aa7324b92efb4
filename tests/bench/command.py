"""Command-line options shared by the benchmarks."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager

from joyvasa.config import load_config
from manifests.scratch import scratch_folder
from pipelines.bench.inputs import write_seeded_bundle
from pipelines.runs.config import RunConfig


@contextmanager
def command_line_run(description: str) -> Iterator[tuple[RunConfig, bool]]:
    """Yield the run options from the command line, and whether `--quick` is given.

    Args:
        description: help text of the command.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--models", help="model bundle (default: the published sizes with seeded weights)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one option of generate")
    parser.add_argument("--quick", action="store_true", help="smaller amounts, for slow machines")
    options = parser.parse_args()

    with scratch_folder() as folder:
        if options.models is None:
            write_seeded_bundle(folder / "published-sizes")
        models = json.dumps(options.models or str(folder / "published-sizes"))
        run = load_config(RunConfig, settings=[*options.set, f"animation.models={models}"])
        yield run.with_absolute_paths(), options.quick
