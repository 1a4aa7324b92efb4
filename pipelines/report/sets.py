"""Metrics of a whole run, from the features stored with each video: read shard by shard and merged exactly.

Each has a value with its settings, or the reason why there is none.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from joyvasa.errors import InputError, JoyvasaError
from joyvasa.metrics import FVD
from joyvasa.metrics.base import NotMeasured
from joyvasa.metrics.support.frechet import FeatureMoments
from joyvasa.runtime.result_tables import shard_folder
from manifests.problems import ManifestError
from manifests.run.folder import DoneMarker, RunFolder
from manifests.storage import open_storage
from pipelines.report.metrics import MetricFigures

if TYPE_CHECKING:
    from joyvasa.metrics.fvd import FvdResult, FvdSet

PARTNERS = 16  # number of following records to search for a different sound

UNREADABLE = (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)  # errors of damaged archives


@dataclass(frozen=True)
class MouthSoundNull:
    """The null distribution of `mouth_sound_correlation`: mouths paired with the sounds of other records."""

    values: dict[str, float]  # correlation of the mouth with the sound of another record of the shard, by record id
    reason: NotMeasured | None = None  # reason if there are no values

    @property
    def mean(self) -> float | None:
        """Mean of the values."""
        return float(np.mean([*self.values.values()])) if self.values else None

    @property
    def high(self) -> float | None:
        """95th percentile of the values; higher correlations are rarely chance."""
        return float(np.percentile([*self.values.values()], 95)) if self.values else None


def compute_run_fvd(run: str, reference: str) -> FvdResult:
    """Compute the FVD of the videos of a run against those of another run.

    Args:
        run: run folder with the generated videos.
        reference: run folder with the real videos, written by `joyvasa evaluate`.

    Returns:
        The distance, or the reason why there is none, and its settings.

    Raises:
        ManifestError: `run_unreadable`.
        InputError: `records_unreadable`.
    """
    from joyvasa.metrics.fvd import FvdResult, compute_fvd

    sets: list[FvdSet] = []
    for location in (reference, run):
        features = _load_fvd_set(location)
        if isinstance(features, NotMeasured):
            return FvdResult(features, {})
        sets.append(features)
    return compute_fvd(*sets)


def compute_mouth_sound_null(run: str) -> MouthSoundNull:
    """Compute the null distribution of `mouth_sound_correlation`: pair each mouth with a different sound.

    The partner of a record is the next record of its shard (cyclically) that has a different sound. Thus, what all
    records of a system have in common, such as a mouth that opens at the start of every video, counts as chance.
    """
    from joyvasa.metrics.mouth_sound import best_correlation

    folder = RunFolder(open_storage(run))
    values: dict[str, float] = {}
    for shard in sorted(folder.read_done_markers()):
        ids = [name for name in _ok_records(folder, shard) if _load_pair(folder, shard, name) is not None]
        for index, record_id in enumerate(ids):
            own = _load_pair(folder, shard, record_id)
            following = [ids[(index + step) % len(ids)] for step in range(1, min(PARTNERS, len(ids) - 1) + 1)]
            others = (_load_pair(folder, shard, name) for name in following)
            other = next((pair for pair in others if pair is not None and not _has_same_sound(own, pair)), None)
            if own is None or other is None:
                continue
            n_values = min(own.shape[1], other.shape[1])
            correlation = best_correlation(own[0, :n_values], other[1, :n_values])
            if not isinstance(correlation, NotMeasured):
                values[record_id] = correlation[0]

    if values:
        return MouthSoundNull(values)
    sentence = "no two records of a shard have mouths and different sounds; expected a run of several recordings"
    return MouthSoundNull({}, NotMeasured("no_other_sound", sentence))


def load_moments(folder: RunFolder, shard: int, mark: DoneMarker, name: str) -> FeatureMoments | None:
    """Load the moments of a feature over the ok records of a shard that `mark` finished; compute and cache them if due.

    Returns:
        The moments, or None if no record has such features.
    """
    cache = f"{shard_folder(shard)}/moments/{name}-{mark.records_sha256[:16]}.npz"
    if folder.storage.exists(cache):
        try:
            with _open_archive(folder.storage.read(cache)) as arrays:
                return FeatureMoments.from_arrays(arrays, cache)
        except (InputError, *UNREADABLE):
            pass  # damaged: computed again below

    total: FeatureMoments | None = None
    for record_id in _ok_records(folder, shard):
        features = _load_feature(folder, shard, record_id, name)
        if features is None:
            continue
        total = total or FeatureMoments.empty(features.shape[1])
        total.add(features)

    if total is not None:
        sink = io.BytesIO()
        np.savez(sink, **total.to_arrays())  # type: ignore[arg-type]
        try:
            folder.storage.write(cache, sink.getvalue())
        except ManifestError:
            pass  # the run folder is read-only: computed again the next time
    return total


def _load_fvd_set(location: str) -> FvdSet | NotMeasured:
    from joyvasa.metrics.fvd import FvdSet

    folder = RunFolder(open_storage(location))
    if not folder.storage.exists(RunFolder.RUN):
        sentence = f"{location}: is not a run folder; expected one: create it with joyvasa evaluate"
        return NotMeasured("reference_missing", sentence)
    choices = folder.read_description().bundles.get(FVD)
    total: FeatureMoments | None = None
    for shard, mark in sorted(folder.read_done_markers().items()):
        moments = load_moments(folder, shard, mark, FVD)
        if moments is not None:
            total = total or FeatureMoments.empty(moments.mean.size)
            total.merge(moments)

    if choices is None or total is None:
        sentence = f"{location}: contains no I3D features; expected a run that was scored with the I3D weights"
        return NotMeasured("features_missing", sentence)
    return FvdSet(total, choices)


def _ok_records(folder: RunFolder, shard: int) -> Iterator[str]:
    rows = folder.read_records(shard, ["record_id", "status"]).to_pylist()
    return (row["record_id"] for row in rows if row["status"] == "ok")


def _load_pair(folder: RunFolder, shard: int, record_id: str) -> np.ndarray | None:
    """Load mouth opening and sound level of a record, shape (2, n); see `_load_feature`."""
    from joyvasa.metrics.mouth_sound import FEATURE

    pair = _load_feature(folder, shard, record_id, FEATURE)
    if pair is not None and len(pair) != 2:
        raise _damaged_error(folder.features_path(shard, record_id), f"{FEATURE} has the shape {pair.shape}")
    return pair


def _load_feature(folder: RunFolder, shard: int, record_id: str, name: str) -> np.ndarray | None:
    """Load one array of a record; return None if it does not exist.

    Raises:
        InputError: `features_damaged`.
    """
    path = folder.features_path(shard, record_id)
    try:
        content = folder.storage.read(path)
    except FileNotFoundError:
        return None
    try:
        with _open_archive(content) as arrays:
            if name not in arrays:
                return None
            array = arrays[name]
    except UNREADABLE as error:
        raise _damaged_error(path, str(error)) from None
    if array.ndim != 2 or array.dtype != np.float32 or not np.isfinite(array).all():
        raise _damaged_error(path, f"{name} is {array.dtype} of shape {array.shape}")
    return array


def _open_archive(content: bytes) -> np.lib.npyio.NpzFile:
    archive = np.load(io.BytesIO(content), allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError("not an archive of arrays")
    return archive


def _damaged_error(path: str, problem: str) -> InputError:
    return InputError("features_damaged", f"{path}: {problem[:200]}; expected finite float32 arrays: score it again")


def _has_same_sound(own: np.ndarray | None, other: np.ndarray) -> bool:
    """Return whether two records have the same recording, which is common: a sound is used with many portraits."""
    from joyvasa.metrics.mouth_sound import pearson

    if own is None:
        return False
    n_values = min(own.shape[1], other.shape[1])
    correlation = pearson(own[1, :n_values].astype(np.float64), other[1, :n_values].astype(np.float64))
    return correlation > 0.99 or np.array_equal(own[1, :n_values], other[1, :n_values])


MAX_NULL_RECORDS = 2000  # each record requires reading at least one small file
CORRELATION = "mouth_sound_correlation"


@dataclass(frozen=True)
class SetFigure:
    """A metric of a whole run."""

    # name, title: name and title of the metric
    name: str
    title: str
    against: str  # name of the reference run; empty if the metric needs none
    value: float | None  # value; None if it could not be computed
    reason: str = ""  # reason why there is no value
    choices: Mapping[str, object] = field(default_factory=dict)  # settings on which the value depends


def compute_set_figures(
    run: str, others: Sequence[tuple[str, str]], figures: Sequence[MetricFigures]
) -> list[SetFigure]:
    """Compute all metrics of a whole run."""
    distances = [_compute_fvd_figure(run, name, folder) for name, folder in others]
    if not distances:
        sentence = "no_reference: no other run to measure the distance to; expected joyvasa report RUN --compare REAL"
        distances = [SetFigure(FVD, "FVD-25", "", None, f"{sentence}, where REAL is a run of joyvasa evaluate")]
    return [*distances, *_compute_null_figures(run, figures)]


def _compute_fvd_figure(run: str, name: str, other: str) -> SetFigure:
    try:
        result = compute_run_fvd(run, other)
    except JoyvasaError as error:  # the other figures are still valid
        return SetFigure(FVD, "FVD-25", name, None, str(error))
    if isinstance(result.value, NotMeasured):
        return SetFigure(FVD, "FVD-25", name, None, f"{result.value.code}: {result.value.sentence}", result.choices)
    return SetFigure(FVD, "FVD-25", name, result.value, "", result.choices)


def _compute_null_figures(run: str, figures: Sequence[MetricFigures]) -> list[SetFigure]:
    n = next((metric.summary.n for metric in figures if metric.column.name == CORRELATION), 0)
    if not n:
        return []

    titles = {"mean": "Mouth and sound by chance, mean", "high": "Mouth and sound by chance, 95th percentile"}
    names = {kind: f"mouth_sound_null_{kind}" for kind in titles}
    if n > MAX_NULL_RECORDS:
        reason = f"too_many_records: {n} records; the report computes it for up to {MAX_NULL_RECORDS}"
        reason += ": call pipelines.report.sets.compute_mouth_sound_null"
        return [SetFigure(names[kind], title, "", None, reason) for kind, title in titles.items()]
    try:
        null = compute_mouth_sound_null(run)
    except JoyvasaError as error:
        return [SetFigure(names[kind], title, "", None, str(error)) for kind, title in titles.items()]

    reason = f"{null.reason.code}: {null.reason.sentence}" if null.reason else ""
    choices = {"pairs": len(null.values), "partner": "the next record of the shard with another sound"}
    values = {"mean": null.mean, "high": null.high}
    return [SetFigure(names[kind], title, "", values[kind], reason, choices) for kind, title in titles.items()]
