import pytest

from manifests.storage import open_storage
from stages.base import FailureKind, Item, Ok
from stages.verify_output import VerifyOutputConfig, VerifyOutputStage
from stages.video_output import VideoPayload
from tests.stages.items import ready, record

VIDEO = VideoPayload("shards/00000/videos/r.mp4", 5, "00", 10, 25.0, 64, 48)


@pytest.mark.parametrize("run", ["local", "memory://commit/run"])
def test_a_record_counts_only_with_its_whole_video(tmp_path, run):
    run = tmp_path if run == "local" else run
    stage = ready(VerifyOutputStage(VerifyOutputConfig(run=str(run))))
    item = Item(record("r"), {"render": VIDEO})

    def commit():
        (outcome,) = stage.run([item])
        return outcome

    assert (commit().kind, commit().code) == (FailureKind.IO, "video_lost")
    open_storage(run).write(VIDEO.video, b"vid")
    assert commit().code == "video_lost"
    open_storage(run).write(VIDEO.video, b"video")
    assert isinstance(commit(), Ok)
