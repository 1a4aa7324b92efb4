"""The remaining time is estimated from the last video and the progress of this one."""

import pytest

from pipelines.web.jobs import RemainingTime, TimeEstimator


@pytest.fixture
def estimator():
    estimator = TimeEstimator()
    for step, elapsed_s in (("motion", 2.0), ("frames", 20.0), ("metrics", 4.0)):
        estimator.record(step, elapsed_s, 10.0)
    return estimator


def test_there_is_no_estimate_before_the_first_video():
    assert TimeEstimator().estimate(5.0) is None
    assert TimeEstimator().estimate(5.0, "motion", 0.0, 3.0) is None


def test_the_first_video_estimates_its_current_step_only():
    assert TimeEstimator().estimate(5.0, "frames", 0.25, 3.0) == RemainingTime(9.0, complete=False)
    assert TimeEstimator().estimate(5.0, "metrics", 0.5, 3.0) == RemainingTime(3.0, complete=True)


def test_a_waiting_job_is_estimated_by_the_length_of_its_sound(estimator):
    assert estimator.estimate(5.0) == RemainingTime(13.0, complete=True)


def test_progress_counts_more_than_the_last_video(estimator):
    assert estimator.estimate(10.0, "frames", 0.5, 30.0) == RemainingTime(34.0, complete=True)
    assert estimator.estimate(10.0, "frames", 0.0, 5.0) == RemainingTime(19.0, complete=True)
    assert estimator.estimate(10.0, "metrics", 0.0, 50.0) == RemainingTime(0.0, complete=True)
