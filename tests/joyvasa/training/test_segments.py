import numpy as np
import pytest

from joyvasa.errors import ConfigError
from joyvasa.faces.square import Square
from joyvasa.training.clip_config import ClipConfig
from joyvasa.training.segments import RecordingWindow, Segment, find_segments, summarize_rejections
from tests.joyvasa.faces.detections import ELSEWHERE, FACE, OTHER, detect

CONFIG = ClipConfig()


def make_window(n_frames: int, *, first: int = 0, faces=lambda frame: (FACE,)) -> RecordingWindow:
    """Build a window without flaws; its arrays may be changed in place."""
    detections = tuple(detect(first + at, *faces(at)) for at in range(0, n_frames, CONFIG.detection_interval))
    return RecordingWindow(
        first,
        np.ones(n_frames, np.float32),
        np.zeros(n_frames, np.int32),
        np.full(n_frames, 0.2, np.float32),
        detections,
    )


def segments_of(window: RecordingWindow, config: ClipConfig = CONFIG) -> list[tuple[int, int, str | None]]:
    segments = find_segments(window, config, name="v.mp4")
    return [(segment.first, segment.n_frames, segment.code) for segment in segments]


def test_a_good_recording_is_one_clip():
    assert segments_of(make_window(400)) == [(0, 400, None)]
    assert find_segments(make_window(400), CONFIG, name="v")[0].square == Square((140.0, 140.0), 160.0, 0.0)


@pytest.mark.parametrize(("n_frames", "code"), [(1, "too_short"), (200, "too_short"), (201, None)])
def test_a_clip_has_at_least_8_01_seconds(n_frames, code):
    assert segments_of(make_window(n_frames)) == [(0, n_frames, code)]


def test_a_recording_is_split_at_a_scene_change():
    window = make_window(700)
    window.changes[[300, 400]] = 80
    assert segments_of(window) == [(0, 300, None), (300, 100, "clip_cut"), (400, 300, None)]


def test_a_cut_that_leaves_nothing_long_enough_is_the_reason():
    window = make_window(300)
    window.changes[150] = 80
    assert [code for *_, code in segments_of(window)] == ["clip_cut", "clip_cut"]


def test_long_recordings_are_cut_into_equal_clips_of_at_most_a_minute():
    assert segments_of(make_window(3200)) == [(0, 1066, None), (1066, 1067, None), (2133, 1067, None)]


def test_frame_numbers_count_from_the_start_of_the_recording():
    window = make_window(500, first=15000)
    window.changes[250] = 80
    assert segments_of(window) == [(15000, 250, None), (15250, 250, None)]


def test_a_lost_face_is_cut_out():
    window = make_window(700, faces=lambda frame: () if 300 <= frame < 350 else (FACE,))
    assert segments_of(window) == [(0, 300, None), (300, 50, "face_lost"), (350, 350, None)]


def test_two_faces_are_cut_out_and_another_face_is_another_clip():
    window = make_window(600, faces=lambda frame: (FACE, OTHER) if frame >= 300 else (FACE,))
    assert segments_of(window) == [(0, 300, None), (300, 300, "several_faces")]
    window = make_window(600, faces=lambda frame: (FACE,) if frame < 300 else (ELSEWHERE,))
    assert [code for *_, code in segments_of(window)] == [None, "face_lost", None]


def test_a_recording_without_a_face_is_rejected():
    assert segments_of(make_window(300, faces=lambda frame: ())) == [(0, 300, "face_lost")]


def test_a_still_picture_is_cut_out():
    window = make_window(600)
    window.still[300:350] = np.arange(50)
    assert segments_of(window) == [(0, 300, None), (300, 50, "frozen"), (350, 250, None)]


def test_a_pause_in_speech_is_allowed_but_a_silent_clip_is_rejected():
    window = make_window(400)
    window.peaks[100:300] = 0
    assert segments_of(window) == [(0, 400, None)]
    window.peaks[:] = 5e-4
    assert segments_of(window) == [(0, 400, "silent")]


def test_sound_that_ends_early_ends_the_clip():
    window = make_window(600)
    window.peaks[300:] = np.nan
    assert segments_of(window) == [(0, 300, None), (300, 300, "sound_shorter")]
    window.peaks[2:] = np.nan
    assert segments_of(window) == [(2, 598, "sound_shorter")]


def test_a_frame_without_sound_at_the_end_is_not_reported():
    window = make_window(400)
    window.peaks[-2:] = np.nan
    assert segments_of(window) == [(0, 398, None)]


def test_a_face_that_leaves_the_crop_is_cut_in_halves_until_it_stays():
    def drifting(frame):
        return ((100.0 + frame * 0.3, 100.0, 80.0),)

    segments = segments_of(make_window(1000, faces=drifting))
    assert len(segments) > 1
    assert {code for *_, code in segments} == {None}
    assert sum(n_frames for _, n_frames, _ in segments) == 1000
    fast = segments_of(make_window(300, faces=lambda frame: ((100.0 + frame * 2, 100.0, 80.0),)))
    assert [code for *_, code in fast] == ["face_moves"]


def test_every_frame_is_accounted_for():
    window = make_window(2000, faces=lambda frame: () if 600 <= frame < 900 else (FACE,))
    window.changes[[250, 1500]] = 90
    window.still[1000:1200] = np.arange(200)
    parts = find_segments(window, CONFIG, name="v")
    assert [part.first for part in parts[1:]] == [part.first + part.n_frames for part in parts[:-1]]
    assert parts[-1].first + parts[-1].n_frames == 2000


def test_sentences_name_the_recording_the_times_and_what_to_do():
    (segment,) = find_segments(make_window(100, first=50), CONFIG, name="talk.mp4")
    assert (
        segment.sentence
        == "talk.mp4: 2.00 to 6.00 s: only 4.00 s long; expected at least 8.01 s: use a longer recording"
    )


def test_a_recording_without_a_clip_has_the_reason_that_rejects_most_of_it():
    lost = Segment(0, 50).reject("face_lost", "v: 0 to 2 s: no face")
    silent = Segment(50, 300).reject("silent", "v: 2 to 14 s: silence")
    code, sentence = summarize_rejections([lost, silent], "v")
    assert code == "silent"
    assert "face_lost 2.0 s, silent 12.0 s" in sentence
    assert summarize_rejections([lost], "v") == ("face_lost", "v: 0 to 2 s: no face")


@pytest.mark.parametrize(
    "values",
    [{"min_s": 0}, {"min_s": 31}, {"looks_per_s": 26}, {"lost_s": -1}, {"frozen_s": 0}, {"validation_share": 2}],
)
def test_options_out_of_range_are_refused(values):
    with pytest.raises(ConfigError, match="config_invalid"):
        ClipConfig(**values)
