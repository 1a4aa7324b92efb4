from pipelines.engine.statistics import StageStatistics


def test_only_amounts_are_summed_up():
    statistics = StageStatistics()
    for _ in range(2):
        statistics.add_facts({"frames": 25, "seconds": 1.5, "bytes": 8, "width": 640, "n_faces": 1, "video": "a.mp4"})
        statistics.add_facts({"windows": 3, "video_bytes": None})
    assert statistics.totals == {"frames": 50, "seconds": 3.0, "bytes": 16, "windows": 6}
