"""Recordings become clips: stages in this process, with small seeded networks."""

import numpy as np
import pytest
import torch

from joyvasa.faces.detection import Face
from joyvasa.training.clip_config import ClipConfig
from joyvasa.training.dataset_files import DatasetWriter
from joyvasa.training.shard_reader import read_shard_clips
from manifests.storage import open_storage
from stages.base import Failed, FailureKind, Item, Ok
from stages.extract_motion import ExtractMotionConfig, ExtractMotionStage, clip_id_for
from stages.find_clips import FindClipsConfig, FindClipsStage
from stages.recording_files import RecordingFiles
from tests.joyvasa.training.recordings import recording, talking
from tests.stages.items import options, ready, record, travelled


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A recording of which one part is cut out, and the stages."""
    folder = tmp_path_factory.mktemp("stages")
    face = talking(130)
    face[55:85] = face[55]
    common = {"run": str(folder / "run"), "animation": options(), "clips": ClipConfig(min_s=1.5)}
    one = record("talk/1.mp4", video=recording(folder / "talk.mp4", face))
    watch, extract = (
        ready(FindClipsStage(FindClipsConfig(**common))),
        ready(ExtractMotionStage(ExtractMotionConfig(**common))),
    )
    (outcome,) = watch.run([Item(one)])
    return folder, one, travelled(outcome.payload), extract


def clips(folder, one):
    parts = RecordingFiles(open_storage(folder / "run"))
    rows = parts.rows(0, one.id)
    names = frozenset(row.clip_id for row in rows if row.clip_id)
    return rows, list(read_shard_clips(parts.clips(0, one.id), DatasetWriter.shard_path(0), only=names))


def test_a_recording_becomes_its_clips_and_the_rest_is_told(made):
    folder, one, watched, extract = made
    (outcome,) = extract.run([Item(one, {"find_clips": watched})])
    assert isinstance(outcome, Ok)
    assert outcome.facts["clips"] == 2
    assert outcome.facts["warning_codes"] == "frozen"
    assert "talk.mp4: 2.2" in outcome.facts["warnings"]
    rows, found = clips(folder, one)
    assert [row.code for row in rows] == [None, "frozen", None]
    assert [clip.clip_id for clip in found] == [clip_id_for(one.id, 0), clip_id_for(one.id, 1)]
    assert [round(clip.start_s * 25) + clip.n_frames for clip in found] == [round(rows[1].start_s * 25), 130]
    assert all(len(clip.sound) == clip.n_frames * 640 for clip in found)


def test_the_same_recording_gives_the_same_clips_again(made):
    folder, one, watched, extract = made
    extract.run([Item(one, {"find_clips": watched})])
    _, before = clips(folder, one)
    extract.run([Item(one, {"find_clips": watched})])
    _, after = clips(folder, one)
    for left, right in zip(before, after, strict=True):
        assert torch.equal(left.motion.expression, right.motion.expression)
        np.testing.assert_array_equal(left.sound, right.sound)


def test_motion_of_a_frame_does_not_depend_on_where_its_clip_begins(made):
    folder, one, watched, extract = made
    extract.run([Item(one, {"find_clips": watched})])
    _, (first, _) = clips(folder, one)
    later = watched.stretches[0].__class__(10, 20, watched.stretches[0].square)
    reader, path = extract._reader, folder / "talk.mp4"
    (part,) = reader.clips(path, watched.info, [later], delay_s=0.0, names=["x"], source="ab" * 32, split="train")
    torch.testing.assert_close(part.motion.expression, first.motion.expression[10:30], atol=1e-5, rtol=1e-4)
    np.testing.assert_array_equal(part.sound, first.sound[6400 : 30 * 640])


class Landmarks:
    """A detector that misses every third face."""

    def __init__(self):
        self.calls = 0

    def detect(self, image):
        self.calls += 1
        if self.calls % 3 == 0:
            return []
        points = np.zeros((203, 2), np.float32)
        points[[0, 12, 24, 36, 48, 66]] = [(0, 0), (10, 0), (20, 0), (30, 0), (0, 50), (20, 50)]
        points[[6, 18, 30, 42, 90, 102]] = [(5, 0), (5, 3), (25, 0), (25, 4), (10, 50), (10, 50 + self.calls)]
        return [Face(np.array([0, 0, 100, 100], np.float32), 1.0, points, landmarks203=points)]


def test_openings_of_eyes_and_lips_are_kept_where_there_are_landmarks(made, monkeypatch):
    folder, one, watched, extract = made
    monkeypatch.setattr(extract._reader, "_landmarks", Landmarks())
    extract.run([Item(one, {"find_clips": watched})])
    _, (clip, _) = clips(folder, one)
    np.testing.assert_allclose(clip.eye_ratio, np.repeat([[0.3, 0.4]], clip.n_frames, axis=0), atol=1e-5)
    frames = np.arange(1, clip.n_frames - 1)
    np.testing.assert_allclose(clip.lip_ratio[frames, 0], (frames + 1) / 20, atol=1e-4)  # missed ones lie between


def test_motion_that_is_not_finite_rejects_its_clip_alone(made, monkeypatch):
    folder, one, watched, extract = made
    calls, read = [], extract._reader._read

    def broken(pictures):
        expression, pose = read(pictures)
        calls.append(1)
        return (expression * float("nan"), pose) if len(calls) == 1 else (expression, pose)

    monkeypatch.setattr(extract._reader, "_read", broken)
    (outcome,) = extract.run([Item(one, {"find_clips": watched})])
    assert outcome.facts["clips"] == 1
    assert outcome.facts["warning_codes"] == "motion_not_finite,frozen"
    rows, found = clips(folder, one)
    assert [row.code for row in rows] == ["motion_not_finite", "frozen", None]
    assert [clip.clip_id for clip in found] == [clip_id_for(one.id, 1)]


def test_a_recording_that_changed_meanwhile_fails_alone(made, tmp_path):
    _, one, watched, extract = made
    shorter = recording(tmp_path / "shorter.mp4", talking(100))
    (outcome,) = extract.run([Item(record(one.id, video=shorter), {"find_clips": watched})])
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.code) == (FailureKind.BAD_INPUT, "video_unreadable")


def test_ids_of_clips_are_plain_and_unique():
    names = {clip_id_for(record_id, 0) for record_id in ("a/b.mp4", "a_b.mp4", "A_b.mp4", "ü.mp4", "../x", "a/b.mp4 ")}
    assert len(names) == 6
    assert all(name.isascii() and len(name) <= 120 and "/" not in name and "~" not in name for name in names)
