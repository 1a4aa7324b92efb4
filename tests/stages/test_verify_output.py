import pytest

from manifests.storage import open_storage
from stages.base import FailureKind, Item, Ok
from stages.verify_output import VerifyOutputStage, VideoPayload
from tests.stages.items import make_record, set_up

VIDEO = VideoPayload("shards/00000/videos/r.mp4", 5, "00", 10, 25.0, 64, 48)


@pytest.mark.parametrize("run", ["local", "memory://verify/run"])
def test_a_record_is_ok_only_with_its_complete_video(tmp_path, run):
    run = tmp_path if run == "local" else run
    stage = set_up(VerifyOutputStage(str(run)))
    item = Item(make_record("r"), {"render": VIDEO})

    def verify():
        (outcome,) = stage.run([item])
        return outcome

    assert (verify().kind, verify().code) == (FailureKind.IO, "video_lost")
    open_storage(run).write(VIDEO.video, b"vid")
    assert verify().code == "video_lost"
    open_storage(run).write(VIDEO.video, b"video")
    assert isinstance(verify(), Ok)
