import pytest

from joyvasa.motion.file import save_motion
from stages.base import FailureKind, Item
from stages.config import StageConfig
from stages.read_motion import ReadMotionStage
from tests.joyvasa.training.recordings import recording, talking
from tests.media import write_video
from tests.motions import random_motion
from tests.stages.items import make_record, options, payloads, set_up


@pytest.fixture(scope="module")
def stage():
    return set_up(ReadMotionStage(StageConfig(animation=options("models=sample"))))


def test_the_motion_and_the_sound_of_a_video_are_read(stage, tmp_path):
    video = recording(tmp_path / "talk.mp4", talking(12), rate=30.0)
    progress = []
    stage.on_progress = lambda *done: progress.append(done)
    (outcome,) = stage.run([Item(make_record("video", motion=video))])
    stage.on_progress = None
    assert progress == sorted(set(progress))
    assert progress[-1] == (1.0, 1.0)
    assert outcome.facts["frames"] == 10
    assert outcome.facts["warnings"] is None
    (payload,) = payloads([outcome])
    assert payload.sound_channels == 1
    assert payload.provenance["source"] == "video"
    assert len(payload.to_motion()) == 10
    assert payload.to_motion().frames_per_second == 25


def test_bad_files_fail_alone(stage, tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 and nothing")
    (tmp_path / "text.mp4").write_text("no video")
    save_motion(tmp_path / "good.safetensors", random_motion(3))
    cut = write_video(tmp_path / "cut.mp4", talking(5))
    cut.write_bytes(cut.read_bytes()[:3000])
    names = ("bad.npz", "text.mp4", "absent.mp4", "cut.mp4", "good.safetensors")
    *failed, good = stage.run([Item(make_record(name, motion=tmp_path / name)) for name in names])
    assert {outcome.kind for outcome in failed} == {FailureKind.BAD_INPUT}
    codes = [outcome.code for outcome in failed]
    assert codes == ["motion_unreadable", "motion_unreadable", "motion_missing", "video_unreadable"]
    assert good.facts["frames"] == 3


def test_a_row_without_a_motion_has_no_payload(stage):
    (outcome,) = stage.run([Item(make_record("sound", audio="a.wav"))])
    assert outcome.payload is None
