import math

import pytest

from pipelines.engine.statistics import RunStatistics, StageStatistics, parse_estimate, parse_statistics


def test_only_amounts_are_summed_up():
    statistics = StageStatistics()
    for _ in range(2):
        statistics.add_facts({"frames": 25, "seconds": 1.5, "bytes": 8, "width": 640, "n_faces": 1, "video": "a.mp4"})
        statistics.add_facts({"windows": 3, "video_bytes": None})
    assert statistics.totals == {"frames": 50, "seconds": 3.0, "bytes": 16, "windows": 6}


@pytest.mark.parametrize("number", [math.nan, math.inf, -1.0, 1e308])
def test_statistics_with_numbers_that_cannot_be_are_damaged(number):
    event = RunStatistics({"render": StageStatistics(busy_s=2.0)}, elapsed_s=3.0).as_dict()
    assert parse_statistics(event) == RunStatistics({"render": StageStatistics(busy_s=2.0)}, elapsed_s=3.0)
    assert parse_statistics(event | {"elapsed_s": number}) is None
    event["stages"]["render"]["busy_s"] = number
    assert parse_statistics(event) is None
    assert parse_estimate({"estimate": {"left_s": number}}) is None
