"""The data set of synthetic speakers on the disk, in the format that `joyvasa train` reads."""

from __future__ import annotations

import numpy as np

from joyvasa.motion.sequence import POSE_LAYOUT
from joyvasa.sample.training.corpus import CLIP_S, Corpus, FaceBasis
from joyvasa.training.dataset_files import TEMPLATE, DatasetCard, DatasetWriter
from joyvasa.training.files import Files

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
    card = writer.finish(extractor={"name": "synthetic speakers", "fingerprint": ""}, about={"seed": seed})
    _scale_poses(files)
    return card


def _scale_poses(files: Files) -> None:
    """Makes poses vary by 1 where they are scaled to lie between 0 and 1.

    A motion generator scales expressions by their deviation and poses by their range. In the noise of diffusion a
    pose that varies by a tenth is not seen until the last steps, and a small network leaves the head still.
    """
    from safetensors.numpy import load, save

    arrays = load(files.read(TEMPLATE))
    for name in POSE_LAYOUT:
        arrays[f"min_{name}"] = arrays[f"mean_{name}"]
        arrays[f"max_{name}"] = arrays[f"mean_{name}"] + arrays[f"std_{name}"]
    files.write(TEMPLATE, save(arrays))
