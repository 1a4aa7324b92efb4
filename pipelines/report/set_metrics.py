"""Metrics of whole runs, from what each record has left beside its video: read shard by shard, joined exactly."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from joyvasa.errors import InputError
from joyvasa.metrics import FVD
from joyvasa.metrics.base import NotMeasured
from joyvasa.metrics.support.frechet import FeatureMoments
from manifests.errors import ManifestError
from manifests.run.folder import DoneMarker, RunFolder
from manifests.storage import open_storage

if TYPE_CHECKING:
    from joyvasa.metrics.fvd import FvdResult, FvdSet

PARTNERS = 16  # records behind one in which another sound is looked for

UNREADABLE = (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)  # archives that are damaged


@dataclass(frozen=True)
class MouthSoundNull:
    """What chance gives: mouths against the sound of other records, as `mouth_sound_correlation` has it for their own.

    Args:
        values: by record id, a record's mouth with the sound of another record of its shard.
        reason: why there is none at all.
    """

    values: dict[str, float]
    reason: NotMeasured | None = None

    @property
    def mean(self) -> float | None:
        """Mean of the values."""
        return float(np.mean([*self.values.values()])) if self.values else None

    @property
    def high(self) -> float | None:
        """Their 95th percentile: what lies above it is seldom chance."""
        return float(np.percentile([*self.values.values()], 95)) if self.values else None


def fvd(run: str, reference: str) -> FvdResult:
    """FVD of the videos of a run against those of another run.

    Args:
        run: run folder with the videos that were made.
        reference: run folder with the real ones; `joyvasa evaluate` makes one of a folder of videos.

    Returns:
        The distance, or why there is none, and the choices behind it.

    Raises:
        ManifestError: `run_unreadable`.
        InputError: `records_unreadable`.
    """
    from joyvasa.metrics.fvd import FvdResult
    from joyvasa.metrics.fvd import compute_fvd as distance

    sets: list[FvdSet] = []
    for location in (reference, run):
        found = _fvd_set(location)
        if isinstance(found, NotMeasured):
            return FvdResult(found, {})
        sets.append(found)
    return distance(*sets)


def mouth_sound_null(run: str) -> MouthSoundNull:
    """The null of `mouth_sound_correlation`: each mouth with a sound that it was not made from.

    The partner of a record is the next one of its shard, in a ring, whose sound is another one. So what all records of
    a system have in common, such as a mouth that opens at the start of every video, counts as chance, as it should.

    Args:
        run: run folder.
    """
    from joyvasa.metrics.mouth_sound import FEATURE, best_correlation

    folder = RunFolder(open_storage(run))
    values: dict[str, float] = {}
    for shard in sorted(folder.read_done_markers()):
        ids = [name for name in _ok_records(folder, shard) if _feature(folder, shard, name, FEATURE) is not None]
        for at, record_id in enumerate(ids):
            own = _feature(folder, shard, record_id, FEATURE)
            following = [ids[(at + step) % len(ids)] for step in range(1, min(PARTNERS, len(ids) - 1) + 1)]
            others = (_feature(folder, shard, name, FEATURE) for name in following)
            other = next((pair for pair in others if pair is not None and not _same_sound(own, pair)), None)
            if own is None or other is None:
                continue
            n_values = min(own.shape[1], other.shape[1])
            found = best_correlation(own[0, :n_values], other[1, :n_values])
            if not isinstance(found, NotMeasured):
                values[record_id] = found[0]
    if values:
        return MouthSoundNull(values)
    sentence = "no two records of a shard have mouths and different sounds; expected a run of several recordings"
    return MouthSoundNull({}, NotMeasured("no_other_sound", sentence))


def moments_of(folder: RunFolder, shard: int, mark: DoneMarker, name: str) -> FeatureMoments | None:
    """Moments of one feature over the good records of a finished shard; kept in the run folder for the next time.

    Args:
        folder: of the run.
        shard: its number.
        mark: of the shard; the moments are those of exactly these outcomes.
        name: of the set metric.

    Returns:
        None where no record has such features.
    """
    kept = f"{folder.shard_folder(shard)}/moments/{name}-{mark.records_sha256[:16]}.npz"
    if folder.storage.exists(kept):
        try:
            with _opened(folder.storage.read(kept)) as arrays:
                return FeatureMoments.from_arrays(arrays, kept)
        except (InputError, *UNREADABLE):
            pass  # damaged: computed again below
    total: FeatureMoments | None = None
    for record_id in _ok_records(folder, shard):
        features = _feature(folder, shard, record_id, name)
        if features is None:
            continue
        total = total or FeatureMoments.empty(features.shape[1])
        total.add(features)
    if total is not None:
        sink = io.BytesIO()
        np.savez(sink, **total.to_arrays())  # type: ignore[arg-type]
        try:
            folder.storage.write(kept, sink.getvalue())
        except ManifestError:
            pass  # a run folder that can only be read: computed again the next time
    return total


def _fvd_set(location: str) -> FvdSet | NotMeasured:
    from joyvasa.metrics.fvd import FvdSet

    folder = RunFolder(open_storage(location))
    if not folder.storage.exists(RunFolder.RUN):
        sentence = f"{location}: is no run folder; expected one: make it with joyvasa evaluate"
        return NotMeasured("reference_missing", sentence)
    choices = folder.read_description().bundles.get(FVD)
    total: FeatureMoments | None = None
    for shard, mark in sorted(folder.read_done_markers().items()):
        found = moments_of(folder, shard, mark, FVD)
        if found is not None:
            total = total or FeatureMoments.empty(found.mean.size)
            total.merge(found)
    if choices is None or total is None:
        sentence = f"{location}: holds no features of I3D; expected a run that was scored with its weights"
        return NotMeasured("features_missing", sentence)
    return FvdSet(total, choices)


def _ok_records(folder: RunFolder, shard: int) -> Iterator[str]:
    rows = folder.read_records(shard, ["record_id", "status"]).to_pylist()
    return (row["record_id"] for row in rows if row["status"] == "ok")


def _feature(folder: RunFolder, shard: int, record_id: str, name: str) -> np.ndarray | None:
    """One array of a record; None where it has none.

    Raises:
        InputError: `features_damaged`.
    """
    path = folder.features_path(shard, record_id)
    try:
        content = folder.storage.read(path)
    except FileNotFoundError:
        return None
    try:
        with _opened(content) as arrays:
            if name not in arrays:
                return None
            array = arrays[name]
    except UNREADABLE as error:
        raise _damaged(path, str(error)) from None
    if array.ndim != 2 or array.dtype != np.float32 or not np.isfinite(array).all():
        raise _damaged(path, f"{name} is {array.dtype} of shape {array.shape}")
    return array


def _opened(content: bytes) -> np.lib.npyio.NpzFile:
    archive = np.load(io.BytesIO(content), allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError("no archive of arrays")
    return archive


def _damaged(path: str, found: str) -> InputError:
    return InputError("features_damaged", f"{path}: {found[:200]}; expected finite float32 arrays: score it again")


def _same_sound(own: np.ndarray | None, other: np.ndarray) -> bool:
    """Whether two records have one recording, which is common: a sound is used with many portraits."""
    from joyvasa.metrics.mouth_sound import pearson

    if own is None:
        return False
    n_values = min(own.shape[1], other.shape[1])
    likeness = pearson(own[1, :n_values].astype(np.float64), other[1, :n_values].astype(np.float64))
    return likeness > 0.99 or np.array_equal(own[1, :n_values], other[1, :n_values])
