"""Runs whose rows name driving videos."""

import pytest

from joyvasa.media.ffmpeg import list_streams
from joyvasa.motion.file import load_motion
from manifests.record import Record
from pipelines.runs.config import RunConfig
from pipelines.runs.generate import build_video_pipeline, generate_videos
from tests.joyvasa.training.recordings import recording, talking
from tests.media import EXAMPLES, write_tone
from tests.pipelines.runs.small_runs import make_config, read_rows, write_manifest


@pytest.mark.slow
def test_a_driving_video_is_read_once_for_all_its_rows(tmp_path):
    video = recording(tmp_path / "talk.mp4", talking(12))
    (tmp_path / "copy.mp4").write_bytes(video.read_bytes())
    sound = write_tone(tmp_path / "tone.wav", seconds=0.4)
    rows = [
        {"record_id": "one", "image": EXAMPLES / "portrait.jpg", "motion": video},
        {"record_id": "two", "image": EXAMPLES / "officer.jpg", "motion": tmp_path / "copy.mp4"},
        {"record_id": "three", "image": EXAMPLES / "portrait.jpg", "motion": video, "audio": sound},
        {"record_id": "sound", "image": EXAMPLES / "portrait.jpg", "audio": sound},
        {"record_id": "bad", "image": EXAMPLES / "portrait.jpg", "motion": sound},
    ]
    settings = ("animation.models=sample", "animation.picture.max_side=240", "save_motion=true")
    result = generate_videos(write_manifest(tmp_path / "rows.csv", rows), tmp_path / "run", make_config(*settings))
    assert result.statistics["stages"]["read_motion"]["records"] == 2  # the video, and the row without a motion
    outcomes = read_rows(tmp_path / "run")
    assert [outcomes[name]["frames"] for name in ("one", "two", "three", "sound")] == [12, 12, 10, 10]
    assert outcomes["bad"]["error_code"] == "motion_unreadable"
    for name in ("one", "two", "three"):
        assert list_streams(tmp_path / "run" / outcomes[name]["video"]) == ["video/h264", "audio/aac"]
    assert load_motion(tmp_path / "run" / outcomes["two"]["motion_file"]).provenance["source"] == "video"


@pytest.mark.parametrize("gpus", [0, 1, 8])
def test_motion_is_read_in_a_stage_of_its_own_only_if_rows_have_any(gpus):
    plain, driven = (
        build_video_pipeline(RunConfig(), "/run", {"human": 99}, gpus=gpus, motions=motions)
        for motions in (False, True)
    )
    assert set(driven.by_name) - set(plain.by_name) == {"read_motion"}
    shares = [sum(spec.num_gpus for spec in pipeline.stages) for pipeline in (plain, driven)]
    assert shares[0] == shares[1]


@pytest.mark.parametrize("option", [("driving_video.steady", False), ("face.min_side", 200)])
def test_rows_with_other_options_for_reading_a_motion_do_not_share_it(option):
    pipeline = build_video_pipeline(RunConfig(), "/run", {"human": 2}, motions=True)
    facts = {"hash_inputs": {"motion_sha256": "a", "audio_sha256": None}}
    rows = [Record(id="a", motion="m.mp4", options=options) for options in ((), (option,))]
    for stage in ("read_motion", "motion"):
        first, second = (pipeline.by_name[stage].share(row, facts) for row in rows)
        assert first != second


@pytest.mark.slow
def test_a_video_in_the_column_image_is_animated_frame_by_frame(tmp_path):
    source = recording(tmp_path / "talk.mp4", talking(24), rate=30.0)
    sound = write_tone(tmp_path / "tone.wav", seconds=0.4)
    long = write_tone(tmp_path / "long.wav", seconds=1.2)
    rows = [
        {"record_id": "video", "image": source, "audio": sound},
        {"record_id": "short", "image": source, "audio": long},
        {"record_id": "picture", "image": EXAMPLES / "portrait.jpg", "audio": sound},
    ]
    config = make_config("save_motion=true", "metrics=[first_frame,mouth]")
    result = generate_videos(write_manifest(tmp_path / "rows.csv", rows), tmp_path / "run", config)
    assert result.all_ok
    assert result.statistics["stages"]["portrait"]["records"] == 2
    outcomes = read_rows(tmp_path / "run")
    assert [outcomes[name]["frames"] for name in ("video", "short", "picture")] == [12, 24, 10]
    assert outcomes["video"]["duration_s"] == pytest.approx(0.4)
    assert outcomes["short"]["warning_codes"] == "source_video_short"
    assert outcomes["video"]["metric_first_frame_psnr"] is not None
