import pytest

from manifests.storage import open_storage
from stages.base import Item, Kind, Ok
from stages.commit import CommitConfig, CommitStage
from tests.stages.items import ready, record
from tests.stages.test_score import VIDEO


@pytest.mark.parametrize("run", ["local", "memory://commit/run"])
def test_a_record_counts_only_with_its_whole_video(tmp_path, run):
    run = tmp_path if run == "local" else run
    stage = ready(CommitStage(CommitConfig(run=str(run))))
    item = Item(record("r"), {"render": VIDEO})

    def commit():
        (outcome,) = stage.run([item])
        return outcome

    assert (commit().kind, commit().code) == (Kind.IO, "video_lost")
    open_storage(run).write(VIDEO.video, b"vid")
    assert commit().code == "video_lost"
    open_storage(run).write(VIDEO.video, b"video")
    assert isinstance(commit(), Ok)
