import math
from dataclasses import dataclass

import pytest

from manifests.storage import open_storage
from stages.base import Item, Ok
from stages.score import ScoreConfig, ScoreStage
from stages.video_output import VideoPayload
from tests.stages.items import ready, record

VIDEO = VideoPayload("shards/00000/videos/r.mp4", 5, "00", 10, 25.0, 64, 48)


@dataclass
class Size:
    name: str = "size"

    def setup(self):
        self.factor = 2

    def measure(self, video, facts):
        return self.factor * len(video.read_bytes()) + facts["frames"]


@dataclass
class Odd:
    name: str
    result: object

    def setup(self):
        pass

    def measure(self, video, facts):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def score(run, *metrics):
    open_storage(run).write(VIDEO.video, b"video")
    stage = ready(ScoreStage(ScoreConfig(run=str(run), metrics=metrics)))
    (outcome,) = stage.run([Item(record("r", audio="a.wav"), {"render": VIDEO})])
    assert isinstance(outcome, Ok)
    return outcome


def test_without_metrics_nothing_is_read(tmp_path):
    assert score(tmp_path).facts == {}


@pytest.mark.parametrize("store", ["local", "memory"])
def test_a_metric_reads_the_finished_file(tmp_path, store):
    run = tmp_path if store == "local" else "memory://scores/run"
    assert score(run, Size()).facts == {"metric.size": 20}


def test_a_metric_that_fails_gives_a_reason_and_harms_nobody(tmp_path):
    broken = [Odd("raises", ValueError("no face")), Odd("infinite", math.inf), Odd("without", None)]
    outcome = score(tmp_path, *broken, Size())
    assert outcome.payload.metrics == {"raises": None, "infinite": None, "without": None, "size": 20}
    assert outcome.payload.reasons.keys() == {"raises", "infinite"}
    assert "no face" in outcome.facts["metric.raises.reason"]
