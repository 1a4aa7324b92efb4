"""The estimate of the remaining time counts parallel workers, running batches, shared results and lost records."""

from dataclasses import asdict

import pytest

from pipelines.engine.statistics import Estimate, RunStatistics, StageStatistics, estimate_run, parse_estimate


def stage(**values):
    return StageStatistics(**{"workers": 1, "unit": "frame", **values})


def test_before_the_first_result_nothing_is_estimated():
    statistics = RunStatistics({"render": stage()}, elapsed_s=5.0)
    assert estimate_run(statistics, 10) == Estimate()


def test_the_running_batch_counts_and_stages_without_a_result_make_it_a_lower_limit():
    # 1 of 4 records of the running batch is done after 20 s: 9 records are left.
    render = stage(partial_records=1.0, partial_units=100.0, partial_s=20.0)
    statistics = RunStatistics({"render": render, "score": stage()}, elapsed_s=50.0, first_batch_s=30.0)
    estimate = estimate_run(statistics, 10)
    assert estimate == Estimate(180.0, True, "render", "frame", 100.0, 5.0)

    statistics.stages["score"].records, statistics.stages["score"].busy_s = 1, 0.0
    assert not estimate_run(statistics, 10).at_least


def test_work_in_parallel_is_done_sooner():
    # Two workers computed 40 s in 20 s: the 8 remaining records take 160 s of computing, 80 s of time.
    render = stage(workers=2, records=2, busy_s=40.0, totals={"frames": 200.0})
    estimate = estimate_run(RunStatistics({"render": render}, elapsed_s=20.0, first_batch_s=0.0), 10)
    assert estimate.left_s == pytest.approx(80.0)
    assert estimate.units_per_s == pytest.approx(10.0)


def test_alternative_stages_share_the_records_and_lost_records_are_not_computed():
    stages = {
        "portrait": stage(output="portrait", records=3, busy_s=3.0),
        "animal_portrait": stage(output="portrait", records=1, busy_s=1.0),
    }
    statistics = RunStatistics(stages, elapsed_s=4.0, first_batch_s=0.0, failed=2)
    assert estimate_run(statistics, 10).left_s == pytest.approx(4.0)


def test_shared_results_cost_nothing():
    portrait = stage(records=1, shared=9, busy_s=10.0)
    assert estimate_run(RunStatistics({"portrait": portrait}, 10.0, 0.0), 20).left_s == pytest.approx(10.0)


def test_the_estimate_of_a_damaged_line_is_ignored():
    estimate = Estimate(3.0, False, "render", "frame", 5.0, 1.0)
    assert parse_estimate({"estimate": asdict(estimate)}) == estimate
    for damaged in ({}, {"estimate": None}, {"estimate": {"left_s": "soon"}}, {"estimate": {"unit": "<b>"}}):
        assert parse_estimate(damaged) is None
