"""The data set of synthetic speakers on the disk, in the format that `joyvasa train` reads."""

from __future__ import annotations

import numpy as np

from joyvasa.training.dataset_files import DatasetCard, DatasetWriter
from joyvasa.training.files import Files
from joyvasa.training.sample.corpus import CLIP_S, Corpus, FaceBasis

SHARD_CLIPS = 20


def write_speech(files: Files, mean: np.ndarray, *, hours: float, seed: int = 0) -> DatasetCard:
    """Writes the data set; shards that are there already are kept.

    Args:
        files: where it lies.
        mean: of `mean_head`.
        hours: of speech, rounded up to whole shards of ten minutes.
        seed: of the speakers.

    Raises:
        EnvironmentFault: `program_missing`.
    """
    writer = DatasetWriter(files)
    basis = FaceBasis(mean)
    for shard in range(int(np.ceil(hours * 3600 / CLIP_S / SHARD_CLIPS))):
        if not writer.has(shard):
            writer.write_shard(shard, Corpus(basis, seed=seed + shard).clips(SHARD_CLIPS))
    return writer.finish(extractor={"name": "synthetic speakers", "fingerprint": ""}, about={"seed": seed})
