import numpy as np
import pytest

from joyvasa.errors import ConfigError
from joyvasa.faces.square import Square
from joyvasa.training.clip_config import ClipConfig
from joyvasa.training.segments import RecordingWindow, Segment, find_segments, summary
from tests.joyvasa.training.test_tracking import ELSEWHERE, FACE, OTHER, look

CONFIG = ClipConfig()


def window(n_frames: int, *, first: int = 0, faces=lambda frame: (FACE,)) -> RecordingWindow:
    """A good window; numbers may be changed in place."""
    looks = tuple(look(first + at, *faces(at)) for at in range(0, n_frames, CONFIG.look_frames))
    return RecordingWindow(
        first, np.ones(n_frames, np.float32), np.zeros(n_frames, np.int32), np.full(n_frames, 0.2, np.float32), looks
    )


def told(made: RecordingWindow, config: ClipConfig = CONFIG) -> list[tuple[int, int, str | None]]:
    return [(one.first, one.n_frames, one.code) for one in find_segments(made, config, name="v.mp4")]


def test_a_good_recording_is_one_clip():
    assert told(window(400)) == [(0, 400, None)]
    assert find_segments(window(400), CONFIG, name="v")[0].square == Square((140.0, 140.0), 160.0, 0.0)


@pytest.mark.parametrize(("n_frames", "code"), [(1, "too_short"), (200, "too_short"), (201, None)])
def test_a_clip_lasts_8_01_seconds_at_least(n_frames, code):
    assert told(window(n_frames)) == [(0, n_frames, code)]


def test_a_recording_is_split_at_a_change_of_scene():
    made = window(700)
    made.changes[[300, 400]] = 80
    assert told(made) == [(0, 300, None), (300, 100, "clip_cut"), (400, 300, None)]


def test_a_cut_that_leaves_nothing_long_enough_is_the_reason():
    made = window(300)
    made.changes[150] = 80
    assert [code for *_, code in told(made)] == ["clip_cut", "clip_cut"]


def test_long_recordings_are_cut_into_equal_clips_of_a_minute_at_most():
    assert told(window(3200)) == [(0, 1066, None), (1066, 1067, None), (2133, 1067, None)]


def test_places_count_from_the_start_of_the_recording():
    made = window(500, first=15000)
    made.changes[250] = 80
    assert told(made) == [(15000, 250, None), (15250, 250, None)]


def test_a_lost_face_is_cut_out():
    made = window(700, faces=lambda frame: () if 300 <= frame < 350 else (FACE,))
    assert told(made) == [(0, 300, None), (300, 50, "face_lost"), (350, 350, None)]


def test_two_faces_are_cut_out_and_another_face_is_another_clip():
    made = window(600, faces=lambda frame: (FACE, OTHER) if frame >= 300 else (FACE,))
    assert told(made) == [(0, 300, None), (300, 300, "several_faces")]
    made = window(600, faces=lambda frame: (FACE,) if frame < 300 else (ELSEWHERE,))
    assert [code for *_, code in told(made)] == [None, "face_lost", None]


def test_no_face_at_all_is_said():
    assert told(window(300, faces=lambda frame: ())) == [(0, 300, "face_lost")]


def test_a_picture_that_stands_still_is_cut_out():
    made = window(600)
    made.still[300:350] = np.arange(50)
    assert told(made) == [(0, 300, None), (300, 50, "frozen"), (350, 250, None)]


def test_a_pause_of_speech_is_no_silence_but_a_silent_clip_is():
    made = window(400)
    made.peaks[100:300] = 0
    assert told(made) == [(0, 400, None)]
    made.peaks[:] = 5e-4
    assert told(made) == [(0, 400, "silent")]


def test_sound_that_ends_early_ends_the_clip():
    made = window(600)
    made.peaks[300:] = np.nan
    assert told(made) == [(0, 300, None), (300, 300, "sound_shorter")]
    made.peaks[2:] = np.nan
    assert told(made) == [(2, 598, "sound_shorter")]


def test_a_frame_without_sound_at_the_end_is_rounding_and_not_told():
    made = window(400)
    made.peaks[-2:] = np.nan
    assert told(made) == [(0, 398, None)]


def test_a_face_that_wanders_out_of_the_crop_is_cut_in_halves_until_it_stays():
    def drifting(frame):
        return ((100.0 + frame * 0.3, 100.0, 80.0),)

    made = told(window(1000, faces=drifting))
    assert len(made) > 1
    assert {code for *_, code in made} == {None}
    assert sum(n_frames for _, n_frames, _ in made) == 1000
    fast = told(window(300, faces=lambda frame: ((100.0 + frame * 2, 100.0, 80.0),)))
    assert [code for *_, code in fast] == ["face_moves"]


def test_every_frame_is_accounted_for():
    made = window(2000, faces=lambda frame: () if 600 <= frame < 900 else (FACE,))
    made.changes[[250, 1500]] = 90
    made.still[1000:1200] = np.arange(200)
    parts = find_segments(made, CONFIG, name="v")
    assert [one.first for one in parts[1:]] == [one.first + one.n_frames for one in parts[:-1]]
    assert parts[-1].first + parts[-1].n_frames == 2000


def test_sentences_name_the_recording_the_place_and_what_to_do():
    (found,) = find_segments(window(100, first=50), CONFIG, name="talk.mp4")
    assert (
        found.sentence == "talk.mp4: 2.00 to 6.00 s: 4.00 s are left; expected at least 8.01 s: use a longer recording"
    )


def test_a_recording_without_a_clip_has_the_reason_that_cost_most():
    lost = Segment(0, 50).rejected("face_lost", "v: 0 to 2 s: no face")
    silent = Segment(50, 300).rejected("silent", "v: 2 to 14 s: silence")
    code, sentence = summary([lost, silent], "v")
    assert code == "silent"
    assert "face_lost 2.0 s, silent 12.0 s" in sentence
    assert summary([lost], "v") == ("face_lost", "v: 0 to 2 s: no face")


@pytest.mark.parametrize(
    "values",
    [{"min_s": 0}, {"min_s": 31}, {"looks_per_s": 26}, {"lost_s": -1}, {"frozen_s": 0}, {"validation_share": 2}],
)
def test_options_out_of_range_are_refused(values):
    with pytest.raises(ConfigError, match="config_invalid"):
        ClipConfig(**values)
