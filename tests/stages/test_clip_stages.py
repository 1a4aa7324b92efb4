"""Stages that turn recordings into clips, in this process, with small random networks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from joyvasa.faces.detection import Face
from joyvasa.motion.extraction import CropMotionReader
from joyvasa.training.clip_config import ClipConfig
from joyvasa.training.dataset_files import DatasetWriter
from joyvasa.training.shard_reader import read_shard_clips
from manifests.storage import open_storage
from stages.base import Failed, FailureKind, Item, Ok
from stages.extract_motion import ExtractMotionStage, make_clip_id
from stages.find_clips import ClipStageConfig, FindClipsStage
from stages.recording_files import RecordingFiles
from tests.joyvasa.training.recordings import recording, talking
from tests.stages.items import make_record, options, set_up, transfer


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    """A recording with one rejected segment, the payload of `find_clips`, and the stage `extract_motion`."""
    folder = tmp_path_factory.mktemp("stages")
    face = talking(130)
    face[55:85] = face[55]
    common = {"run": str(folder / "run"), "animation": options(), "clips": ClipConfig(min_s=1.5)}
    source = make_record("talk/1.mp4", video=recording(folder / "talk.mp4", face))
    watch, extract = (
        set_up(FindClipsStage(ClipStageConfig(**common))),
        set_up(ExtractMotionStage(ClipStageConfig(**common))),
    )
    (outcome,) = watch.run([Item(source)])
    return folder, source, transfer(outcome.payload), extract


def clips(folder, source):
    parts = RecordingFiles(open_storage(folder / "run"))
    rows = parts.read_rows(0, source.id)
    names = frozenset(row.clip_id for row in rows if row.clip_id)
    return rows, list(read_shard_clips(parts.clip_storage(0, source.id), DatasetWriter.shard_path(0), only=names))


def test_a_recording_is_split_into_clips_and_rejected_segments_are_reported(segmented):
    folder, source, payload, extract = segmented
    (outcome,) = extract.run([Item(source, {"find_clips": payload})])
    assert isinstance(outcome, Ok)
    assert outcome.facts["clips"] == 2
    assert outcome.facts["warning_codes"] == "frozen"
    assert "talk.mp4: 2.2" in outcome.facts["warnings"]
    rows, stored = clips(folder, source)
    assert [row.code for row in rows] == [None, "frozen", None]
    assert [clip.clip_id for clip in stored] == [make_clip_id(source.id, 0), make_clip_id(source.id, 1)]
    assert [round(clip.start_s * 25) + clip.n_frames for clip in stored] == [round(rows[1].start_s * 25), 130]
    assert all(len(clip.sound) == clip.n_frames * 640 for clip in stored)


def test_the_same_recording_gives_the_same_clips_again(segmented):
    folder, source, payload, extract = segmented
    extract.run([Item(source, {"find_clips": payload})])
    _, before = clips(folder, source)
    extract.run([Item(source, {"find_clips": payload})])
    _, after = clips(folder, source)
    for left, right in zip(before, after, strict=True):
        assert torch.equal(left.motion.expression, right.motion.expression)
        np.testing.assert_array_equal(left.sound, right.sound)


def test_motion_of_a_frame_does_not_depend_on_the_start_of_its_clip(segmented):
    folder, source, payload, extract = segmented
    extract.run([Item(source, {"find_clips": payload})])
    _, (first, _) = clips(folder, source)
    later = payload.segments[0].__class__(10, 20, payload.segments[0].square)
    extractor, path = extract._extractor, folder / "talk.mp4"
    (part,) = extractor.extract_clips(path, payload.info, [later], names=["x"], source="ab" * 32, split="train")
    torch.testing.assert_close(part.motion.expression, first.motion.expression[10:30], atol=1e-5, rtol=1e-4)
    np.testing.assert_array_equal(part.sound, first.sound[6400 : 30 * 640])


def test_the_seconds_read_of_a_long_recording_are_progress(segmented):
    folder, source, _, _ = segmented
    config = ClipStageConfig(run=str(folder / "run"), animation=options(), clips=ClipConfig(min_s=1.5))
    stage, progress = set_up(FindClipsStage(config)), []
    stage.on_progress = lambda *done: progress.append(done)
    (outcome,) = stage.run([Item(source)])
    assert outcome.facts["seconds"] == 5.2
    assert [seconds for _, seconds in progress] == [number / 25 for number in range(1, 131)]
    assert [fraction for fraction, _ in progress] == pytest.approx([seconds / 5.2 for _, seconds in progress], rel=0.02)


class Landmarks:
    """A detector that misses every third face."""

    def __init__(self):
        self.calls = 0

    def detect(self, image):
        self.calls += 1
        if self.calls % 3 == 0:
            return []
        points = np.zeros((5, 2), np.float32)
        return [Face(np.zeros(4), 1.0, points, lip_ratio=self.calls / 20, eye_ratios=(0.3, 0.4))]


def test_openings_of_eyes_and_lips_are_stored_if_there_are_landmarks(segmented, monkeypatch):
    folder, source, payload, extract = segmented
    monkeypatch.setattr(extract, "_extractor", replace(extract._extractor, landmarks=Landmarks()))
    extract.run([Item(source, {"find_clips": payload})])
    _, (clip, _) = clips(folder, source)
    np.testing.assert_allclose(clip.eye_ratio, np.repeat([[0.3, 0.4]], clip.n_frames, axis=0), atol=1e-5)
    frames = np.arange(1, clip.n_frames - 1)
    np.testing.assert_allclose(
        clip.lip_ratio[frames, 0], (frames + 1) / 20, atol=1e-4
    )  # missed frames are interpolated


def test_motion_that_is_not_finite_rejects_only_its_clip(segmented, monkeypatch):
    folder, source, payload, extract = segmented
    calls, run_network = [], CropMotionReader._run_network

    def broken(self, pictures):
        expression, pose = run_network(self, pictures)
        calls.append(1)
        return (expression * float("nan"), pose) if len(calls) == 1 else (expression, pose)

    monkeypatch.setattr(CropMotionReader, "_run_network", broken)
    (outcome,) = extract.run([Item(source, {"find_clips": payload})])
    assert outcome.facts["clips"] == 1
    assert outcome.facts["warning_codes"] == "motion_not_finite,frozen"
    rows, stored = clips(folder, source)
    assert [row.code for row in rows] == ["motion_not_finite", "frozen", None]
    assert [clip.clip_id for clip in stored] == [make_clip_id(source.id, 1)]


def test_a_recording_that_changed_between_the_stages_fails(segmented, tmp_path):
    _, source, payload, extract = segmented
    shorter = recording(tmp_path / "shorter.mp4", talking(100))
    (outcome,) = extract.run([Item(make_record(source.id, video=shorter), {"find_clips": payload})])
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.code) == (FailureKind.BAD_INPUT, "video_unreadable")


def test_clip_ids_are_safe_and_unique():
    names = {make_clip_id(record_id, 0) for record_id in ("a/b.mp4", "a_b.mp4", "A_b.mp4", "ü.mp4", "../x", "a/b.mp4 ")}
    assert len(names) == 6
    assert all(name.isascii() and len(name) <= 120 and "/" not in name and "~" not in name for name in names)
