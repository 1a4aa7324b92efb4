import threading
from collections import Counter

import numpy as np
import pytest
import yaml

from manifests.estimate import NO_PROFILE, read_profile, summarize_manifest
from manifests.manifest import open_manifest
from manifests.problems import ManifestError
from manifests.stats import Probes, VideoSizes
from tests.manifests.tables import pair, write

SIZES = VideoSizes(frames_per_second=25, frames_per_window=100)
PROFILE = {
    "machine": "a test",
    "stages": {
        "portrait": {"per": "portrait", "seconds": 3.6, "gpus": 0.5},
        "render": {"per": "frame", "seconds": 0.36, "gpus": 1},
        "score": {"per": "record", "seconds": 36},
    },
    "disk": {"frame": 5000, "record": 1000},
}


class FakeProbe:
    """Measures nothing: `s3.wav` has 3 seconds. Counts its calls."""

    def __init__(self, bad=()):
        self.calls, self.bad, self.lock = Counter(), bad, threading.Lock()

    def __call__(self, path):
        name = path.rpartition("/")[2]
        with self.lock:
            self.calls[name] += 1
        if name in self.bad:
            raise ManifestError("audio_empty", f"{name}: is empty")
        return float(name[1])


def test_each_recording_is_probed_once_and_counted_for_every_row(tmp_path):
    probe = FakeProbe()
    path = write(tmp_path / "m.csv", [pair(n) for n in range(70)])
    stats = summarize_manifest(open_manifest(path), probes=Probes(SIZES, audio=probe, pending=2)).stats
    assert probe.calls == {f"s{n}.wav": 1 for n in range(5)}
    assert (stats.records, stats.portraits, stats.recordings) == (70, 7, 5)
    assert stats.sound_s == 14 * (0 + 1 + 2 + 3 + 4)
    assert stats.distinct_sound_s == 10
    assert stats.frames == 14 * 25 * 10
    assert stats.windows == 14 * 4  # 25 to 100 frames each, none for empty audio


def test_a_row_with_motion_needs_no_window_and_motion_files_have_frames(tmp_path):
    rows = [pair(0, audio="s4.wav"), pair(1, audio="s4.wav", motion="m2.npz"), pair(2, audio=None, motion="m2.npz")]
    probes = Probes(SIZES, audio=FakeProbe(), motion=FakeProbe())
    stats = summarize_manifest(open_manifest(write(tmp_path / "m.csv", rows)), probes=probes).stats
    assert (stats.recordings, stats.motions) == (1, 1)
    assert (stats.frames, stats.windows) == (100 + 100 + 50, 1)


def test_unreadable_media_are_counted_by_reason(tmp_path):
    path = write(tmp_path / "m.csv", [pair(n) for n in range(70)])
    probes = Probes(SIZES, audio=FakeProbe(bad=("s2.wav", "s3.wav")))
    stats = summarize_manifest(open_manifest(path), probes=probes).stats
    assert stats.probe_failures == {"audio_empty": 2}
    assert len(stats.probe_examples) == 2
    assert stats.sound_s == 14 * 5


def test_without_probes_no_media_are_read_and_durations_are_unknown(tmp_path):
    result = summarize_manifest(open_manifest(write(tmp_path / "m.csv", [pair(n) for n in range(9)])), shard_size=4)
    assert (result.shards, result.stats.sound_s, result.stats.frames, result.stats.windows) == (
        3,
        None,
        None,
        None,
    )
    assert result.as_dict()["estimate"] == NO_PROFILE


def test_different_paths_of_one_portrait_count_once(tmp_path):
    rows = [pair(0, image="a.png"), pair(1, image="./a.png"), pair(2, image=str(tmp_path / "x" / ".." / "a.png"))]
    assert summarize_manifest(open_manifest(write(tmp_path / "m.csv", rows))).stats.portraits == 1


def test_the_estimate_is_amount_times_rate(tmp_path):
    (tmp_path / "rates.yaml").write_text(yaml.safe_dump(PROFILE))
    manifest = open_manifest(write(tmp_path / "m.csv", [pair(n) for n in range(70)]))
    profile = read_profile(str(tmp_path / "rates.yaml"))
    estimate = summarize_manifest(manifest, probes=Probes(SIZES, audio=FakeProbe()), profile=profile).estimate
    assert estimate.gpu_hours == pytest.approx({"portrait": 7 * 0.0005, "render": 3500 * 0.0001, "score": 0})
    assert estimate.total_gpu_hours == pytest.approx(0.3535)
    assert estimate.worker_hours["score"] == pytest.approx(0.7)
    assert estimate.disk_bytes == 3500 * 5000 + 70 * 1000
    unknown = summarize_manifest(manifest, profile=profile).estimate
    assert (unknown.gpu_hours["render"], unknown.total_gpu_hours, unknown.disk_bytes) == (None, None, None)


@pytest.mark.parametrize(
    "content",
    [
        "", "- 1", "a: [", "stages: {}", "stages: {render: 3}", "stages: {render: {per: day, seconds: 1}}",
        "stages: {render: {per: frame, seconds: -1}}", "stages: {render: {per: frame}}",
        "stages: {render: {per: frame, seconds: .nan}}", "stages: {render: {per: frame, seconds: 1, gpu: 1}}",
        f"stages: {{render: {{per: frame, seconds: {'x' * 5000}}}}}", f"stages: {{render: {{per: {'x' * 5000}}}}}",
        "stages: {render: {per: frame, seconds: 2001-99-99}}",
        "stages: {render: {per: frame, seconds: 1}}\ndisk: {day: 3}",
    ],
)  # fmt: skip
def test_a_bad_profile_gives_one_sentence(tmp_path, content):
    (tmp_path / "rates.yaml").write_text(content)
    with pytest.raises(ManifestError, match=r"^profile_invalid: .*rates\.yaml.{1,300}$"):
        read_profile(str(tmp_path / "rates.yaml"))


def test_frames_cover_the_audio():
    frames = SIZES.frames(np.array([0, 0.04, 0.041, 4, 4.01, 8.0]))
    assert frames.tolist() == [0, 1, 2, 100, 101, 200]
    assert SIZES.windows(frames).tolist() == [0, 1, 1, 1, 2, 2]
    assert VideoSizes(25, 100, silent_frames=2).windows(frames).tolist() == [0, 1, 1, 2, 2, 3]


def test_frames_and_windows_are_those_of_the_motion_model(tmp_path):
    path = write(tmp_path / "m.csv", [pair(n) for n in range(70)])
    sizes = VideoSizes(frames_per_second=20, frames_per_window=30, silent_frames=2)
    result = summarize_manifest(open_manifest(path), probes=Probes(sizes, audio=FakeProbe()))
    assert result.stats.frames == 14 * 20 * 10
    assert result.stats.windows == 14 * (1 + 2 + 3 + 3)  # 22, 42, 62 and 82 frames
    assert result.as_dict()["sizes"] == {"frames_per_second": 20, "frames_per_window": 30, "silent_frames": 2}
