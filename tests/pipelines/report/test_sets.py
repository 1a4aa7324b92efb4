"""Metrics of whole runs match the values computed from all features at once."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from joyvasa.errors import InputError
from joyvasa.metrics.base import NotMeasured
from joyvasa.metrics.mouth_sound import best_correlation
from joyvasa.metrics.support.frechet import FeatureMoments, frechet_distance
from manifests.record import Record
from manifests.run.folder import RunFolder
from manifests.run.outcome import RecordOutcome
from manifests.storage import open_storage
from pipelines.report.sets import MouthSoundNull, compute_mouth_sound_null, compute_run_fvd, load_moments
from stages.score import encode_features
from tests.joyvasa.metrics.clips import syllables
from tests.pipelines.report import run_folders
from tests.pipelines.report.run_folders import failed_outcome, ok_outcome

CHOICES = {"ddof": 1, "clip_frames": 25}
NAMES = ("r0", "r1", "r2", "r3", "r4")


def write_run(folder: Path, features: dict[str, dict[str, np.ndarray]], choices: dict | None = None) -> Path:
    """Write a finished run of two shards whose records have these features; the last record failed."""

    def outcome(record: Record) -> RecordOutcome:
        return failed_outcome(record) if record.id == "failed" else ok_outcome(record)

    folder.mkdir()
    rows = [{"record_id": name, "video": "v.mp4"} for name in (*NAMES, "failed")]
    run = run_folders.write_run(folder / "run", rows, outcome, manifests=folder, shard_size=3, name="X")
    for number, shard in enumerate((NAMES[:3], (*NAMES[3:], "failed"))):
        for name in shard:
            if name in features:
                run.storage.write(run.features_path(number, name), encode_features(features[name]))
    if choices:
        described = dataclasses.replace(run.read_description(), bundles={"fvd": choices})
        run.storage.write(RunFolder.RUN, described.to_yaml())
    return folder / "run"


def clips(seed: int, shift: float = 0.0) -> dict[str, dict[str, np.ndarray]]:
    """Return features of one to five clips per record, and of a failed record, which must not count."""
    random = np.random.default_rng(seed)
    sizes = {"r0": 3, "r1": 1, "r3": 5, "r4": 4, "failed": 9}  # r2 was too short
    return {
        name: {"fvd": (random.standard_normal((size, 6)) + shift).astype(np.float32)} for name, size in sizes.items()
    }


def all_moments(features: dict[str, dict[str, np.ndarray]]) -> FeatureMoments:
    return FeatureMoments.from_features(
        np.concatenate([arrays["fvd"] for name, arrays in features.items() if name != "failed"])
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    sets = {"generated": clips(0), "real": clips(1, 0.5)}
    return {name: (write_run(folder / name, features, CHOICES), features) for name, features in sets.items()}


@pytest.mark.parametrize("time", ["first", "cached"])
def test_fvd_over_shards_equals_that_of_all_features_at_once(runs, time):
    (generated, ours), (real, theirs) = runs["generated"], runs["real"]
    result = compute_run_fvd(str(generated), str(real))
    assert result.value == pytest.approx(frechet_distance(all_moments(theirs), all_moments(ours), ddof=1), rel=1e-10)
    assert result.choices == {**CHOICES, "real_clips": 13, "generated_clips": 13}
    assert len(list(generated.glob("shards/*/moments/fvd-*.npz"))) == 2


def test_damaged_moments_are_computed_again(runs):
    generated, _ours = runs["generated"]
    folder = RunFolder(open_storage(generated))
    mark = folder.read_done_marker(0)
    expected = load_moments(folder, 0, mark, "fvd")
    for path in generated.glob("shards/00000/moments/*.npz"):
        path.write_bytes(b"PK\x03\x04 damaged")
    moments = load_moments(folder, 0, mark, "fvd")
    np.testing.assert_array_equal(moments.scatter, expected.scatter)


def test_moments_belong_to_the_finished_outcomes(runs):
    generated, _ = runs["generated"]
    folder = RunFolder(open_storage(generated))
    mark = folder.read_done_marker(0)
    load_moments(folder, 0, mark, "fvd")
    other = dataclasses.replace(mark, records_sha256="0" * 64)  # as after a retry
    load_moments(folder, 0, other, "fvd")
    assert len(list(generated.glob("shards/00000/moments/fvd-*.npz"))) == 2
    for path in generated.glob("shards/00000/moments/fvd-0000*.npz"):
        path.unlink()


def test_without_features_or_reference_there_is_a_reason(runs, tmp_path):
    generated, _ = runs["generated"]
    bare = write_run(tmp_path / "bare", {})
    for reference, code in ((bare, "features_missing"), (tmp_path / "nothing", "reference_missing")):
        result = compute_run_fvd(str(generated), str(reference))
        assert isinstance(result.value, NotMeasured)
        assert result.value.code == code


def test_a_hostile_feature_file_is_refused_and_runs_nothing(runs, tmp_path):
    run = write_run(tmp_path / "bad", clips(2), CHOICES)
    path = run / "shards/00000/features/r0.npz"
    with path.open("wb") as file:
        np.savez(file, fvd=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="features_damaged"):
        compute_run_fvd(str(run), str(run))


def test_features_of_other_shapes_are_refused(runs, tmp_path):
    wide = {"fvd": np.zeros((2, 7), np.float32)}
    run = write_run(tmp_path / "mixed", {**clips(2), "r1": wide}, CHOICES)
    others = write_run(tmp_path / "wide", dict.fromkeys(NAMES, wide), CHOICES)
    for other in (run, others):
        with pytest.raises(InputError, match="features_mismatch: sets with"):
            compute_run_fvd(str(other), str(runs["real"][0]))
    run = write_run(tmp_path / "mouths", {"r0": {"mouth_sound": np.zeros((1, 100), np.float32)}})
    with pytest.raises(InputError, match="mouth_sound has the shape"):
        compute_mouth_sound_null(str(run))


def series(mouth: np.ndarray, level: np.ndarray) -> dict[str, np.ndarray]:
    return {"mouth_sound": np.stack([mouth, level]).astype(np.float32)}


def test_the_null_pairs_mouths_with_other_sounds_only(tmp_path):
    sounds = [syllables(200, seed) for seed in range(3)]
    features = {
        "r0": series(sounds[0], sounds[0]),
        "r1": series(sounds[0] + 0.1, sounds[0]),  # the same recording with another portrait
        "r2": series(sounds[1][:150], sounds[1][:150]),
        "r3": series(sounds[2], sounds[2]),
        "r4": series(sounds[2], sounds[2]),  # no other sound in its shard
    }
    result = compute_mouth_sound_null(str(write_run(tmp_path / "mouths", features)))
    expected = {
        "r0": best_correlation(sounds[0][:150], sounds[1][:150])[0],
        "r1": best_correlation(sounds[0][:150], sounds[1][:150])[0],
        "r2": best_correlation(sounds[1][:150], sounds[0][:150])[0],
    }
    assert result.values == pytest.approx(expected, abs=1e-5)
    assert result.reason is None


def test_the_null_distribution_has_a_mean_and_a_95th_percentile():
    null = MouthSoundNull({str(number): number**2 / 400 for number in range(21)})
    assert null.mean == pytest.approx(2870 / 21 / 400)
    assert null.high == pytest.approx(19**2 / 400)


def test_without_different_sounds_there_is_no_null_distribution(tmp_path):
    sound = syllables(200)
    result = compute_mouth_sound_null(
        str(write_run(tmp_path / "one", {"r0": series(sound, sound), "r1": series(sound, sound)}))
    )
    assert (result.values, result.mean, result.high) == ({}, None, None)
    assert result.reason.code == "no_other_sound"
