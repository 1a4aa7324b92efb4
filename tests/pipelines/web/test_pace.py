"""The time left follows from the last video and from what is done of this one."""

import pytest

from pipelines.web.pace import Pace, TimeLeft


@pytest.fixture
def pace():
    pace = Pace()
    for step, elapsed_s in (("motion", 2.0), ("frames", 20.0), ("metrics", 4.0)):
        pace.learn(step, elapsed_s, 10.0)
    return pace


def test_nothing_is_known_before_the_first_video():
    assert Pace().left(5.0) is None
    assert Pace().left(5.0, "motion", 0.0, 3.0) is None


def test_the_first_video_tells_of_its_present_step_alone():
    assert Pace().left(5.0, "frames", 0.25, 3.0) == TimeLeft(9.0, whole=False)
    assert Pace().left(5.0, "metrics", 0.5, 3.0) == TimeLeft(3.0, whole=True)


def test_a_waiting_job_takes_as_long_as_its_sound_says(pace):
    assert pace.left(5.0) == TimeLeft(13.0, whole=True)


def test_what_is_done_counts_more_than_what_was(pace):
    assert pace.left(10.0, "frames", 0.5, 30.0) == TimeLeft(34.0, whole=True)
    assert pace.left(10.0, "frames", 0.0, 5.0) == TimeLeft(19.0, whole=True)
    assert pace.left(10.0, "metrics", 0.0, 50.0) == TimeLeft(0.0, whole=True)
