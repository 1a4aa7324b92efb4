"""The file that marks the folder of a training run."""

from __future__ import annotations

import os

from manifests.storage import open_storage

RUN_FILE = "train.yaml"


def is_training_run(run: str | os.PathLike[str]) -> bool:
    """Return whether a folder is that of a training run."""
    return open_storage(run).exists(RUN_FILE)
