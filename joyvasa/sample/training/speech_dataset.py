"""The data set of synthetic speakers, in the format of `joyvasa train`."""

from __future__ import annotations

import numpy as np

from joyvasa.motion.sequence import POSE_LAYOUT
from joyvasa.sample.training.corpus import CLIP_S, Corpus, FaceBasis
from joyvasa.training.dataset_files import TEMPLATE, DatasetCard, DatasetWriter
from joyvasa.training.file_store import FileStore

SHARD_CLIPS = 20


def write_speech_dataset(files: FileStore, mean: np.ndarray, *, hours: float, seed: int = 0) -> DatasetCard:
    """Write the data set; existing shards are not written again.

    Args:
        files: folder of the data set.
        mean: mean head, see `mean_head`.
        hours: hours of speech, rounded up to whole shards of ten minutes.
        seed: seed of the speakers.

    Raises:
        EnvironmentFault: `program_missing`.
    """
    writer = DatasetWriter(files)
    basis = FaceBasis(mean)
    for shard in range(int(np.ceil(hours * 3600 / CLIP_S / SHARD_CLIPS))):
        if not writer.has_shard(shard):
            writer.write_shard(shard, Corpus(basis, seed=seed + shard).clips(SHARD_CLIPS))
    card = writer.finish(extractor={"name": "synthetic speakers", "fingerprint": ""}, about={"seed": seed})
    _scale_poses(files)
    return card


def _scale_poses(files: FileStore) -> None:
    """Replace the range of poses in the template, so that normalized poses have a standard deviation of 1.

    The motion generator normalizes expressions by their deviation and poses by their range. Poses that vary by only
    0.1 drown in the diffusion noise until the last steps, and a small network learns to leave the head still.
    """
    from safetensors.numpy import load, save

    arrays = load(files.read(TEMPLATE))
    for name in POSE_LAYOUT:
        arrays[f"min_{name}"] = arrays[f"mean_{name}"]
        arrays[f"max_{name}"] = arrays[f"mean_{name}"] + arrays[f"std_{name}"]
    files.write(TEMPLATE, save(arrays))
