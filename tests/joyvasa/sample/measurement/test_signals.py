import numpy as np
import pytest

from joyvasa.sample.measurement.keypoint_errors import pooled_correlation
from joyvasa.sample.measurement.signals import (
    CLOSED_LIDS,
    CLOSED_LIPS,
    RATE,
    closed_level,
    closed_share,
    correlation_near_zero,
    count_blinks,
    flicker_ratio,
    mean_during,
    opened_share,
)

N = 200


@pytest.fixture
def level():
    """Level of a sound with independent values."""
    return np.random.default_rng(0).normal(size=N)


@pytest.mark.parametrize("lag", [-2, -1, 0, 1, 2])
def test_a_mouth_that_follows_the_sound_within_two_frames_correlates(level, lag):
    assert correlation_near_zero(np.roll(level, lag), level) > 0.95


@pytest.mark.parametrize("lag", [-4, 3, 8])
def test_a_mouth_with_a_larger_lag_does_not_correlate(level, lag):
    assert correlation_near_zero(np.roll(level, lag), level) < 0.3


def test_a_mouth_that_opens_in_silence_correlates_negatively(level):
    assert correlation_near_zero(-np.repeat(level, 5), np.repeat(level, 5)) < 0


def test_frames_without_a_face_are_ignored(level):
    seen = level.copy()
    seen[::7] = np.nan
    assert correlation_near_zero(seen, level) > 0.99


def test_a_longer_sound_is_truncated(level):
    assert correlation_near_zero(level[:100], level) > 0.99


@pytest.mark.parametrize("mouth", [np.zeros(N), np.full(N, np.nan)])
def test_a_still_mouth_has_no_correlation(level, mouth):
    assert np.isnan(correlation_near_zero(mouth, level))


@pytest.mark.parametrize(("rest", "level"), [(-0.02, 0.005), (0.01, 0.035), (0.04, CLOSED_LIPS), (0.2, CLOSED_LIPS)])
def test_the_closed_level_is_near_the_rest_of_the_lips_and_limited(rest, level):
    mouth = np.full(100, rest)
    mouth[50:] += 0.2
    mouth[7] = np.nan
    assert closed_level(mouth) == pytest.approx(level)


def test_a_mouth_that_hardly_moves_does_not_close_in_its_vowels():
    mouth = np.where(np.arange(100) < 50, -0.01, 0.04)
    assert closed_share(mouth, [(1.0, 1.2)]) == 1
    assert closed_share(mouth, [(3.0, 3.2)]) == 0


def closing_at(*frames):
    mouth = np.full(100, CLOSED_LIPS + 0.1)
    mouth[[*frames, *range(25, 33)]] = 0.0  # and a pause
    return mouth


@pytest.mark.parametrize(("frame", "share"), [(50, 1), (48, 1), (52, 1), (47, 0), (53, 0)])
def test_lips_count_as_closed_within_two_frames_of_the_sound(frame, share):
    assert closed_share(closing_at(frame), [(50 / RATE, 51 / RATE)]) == share


def test_each_sound_counts_once():
    spans = [(10 / RATE, 12 / RATE), (40 / RATE, 43 / RATE), (70 / RATE, 71 / RATE), (90 / RATE, 95 / RATE)]
    assert closed_share(closing_at(10, 11, 12, 42), spans) == 0.5


def test_lips_part_in_a_vowel_or_not():
    mouth = np.zeros(100)
    mouth[40:44] = 0.2
    assert opened_share(mouth, [(1.6, 1.8), (3.0, 3.2)]) == 0.5
    assert opened_share(np.zeros(100), [(1.6, 1.8)]) == 0


def test_lips_that_were_not_found_did_not_close():
    assert closed_share(np.full(100, np.nan), [(1.0, 1.1)]) == 0


def test_sounds_after_the_end_of_the_video_do_not_count():
    assert closed_share(closing_at(10), [(10 / RATE, 11 / RATE), (9.0, 9.1)]) == 1
    assert np.isnan(closed_share(closing_at(10), [(9.0, 9.1)]))


def test_the_mean_covers_the_middle_of_a_sound():
    mouth = np.zeros(100)
    mouth[45:55] = 0.3
    assert mean_during(mouth, [(40 / RATE, 60 / RATE)]) == pytest.approx(0.3)
    assert mean_during(mouth, [(60 / RATE, 80 / RATE)]) == 0


def lids(*blinks):
    """Open eyes that shut to `opening` for some frames from frame `at`."""
    lids = np.ones(150)
    for at, frames, opening in blinks:
        lids[at : at + frames] = opening
    return lids


@pytest.mark.parametrize(
    ("opening", "count"),
    [
        (lids(), 0),
        (lids((30, 3, 0.2), (90, 4, 0.1)), 2),
        (lids((30, 3, CLOSED_LIDS + 0.05)), 0),  # a squint
        (lids((30, 40, 0.1)), 0),  # shut eyes
        (lids((30, 2, 0.1), (33, 2, 0.1)), 2),
        (lids((148, 5, 0.1)), 0),  # unknown whether they open again
        (np.full(150, np.nan), 0),
    ],
)
def test_a_blink_shuts_and_opens_the_eyes(opening, count):
    assert count_blinks(opening) == count


def test_the_depth_of_a_blink_is_an_argument():
    assert [count_blinks(lids((30, 3, 0.3)), shut=shut) for shut in (0.25, 0.35)] == [0, 1]


def test_flicker_is_relative_to_the_still_picture():
    assert flicker_ratio(np.full(10, 0.44), np.full(10, 0.4)) == pytest.approx(1.1)
    assert np.isnan(flicker_ratio(np.full(10, 0.4), np.zeros(10)))


def test_a_still_video_has_no_weight_in_the_pooled_correlation(level):
    moving, still = (level, level + 0.1), (1e-3 * level, 5 - 1e-3 * np.roll(level, 7))
    assert pooled_correlation([moving, still]) > 0.99
    assert pooled_correlation([moving, moving]) == pytest.approx(1)
    assert abs(pooled_correlation([(level, np.roll(level, 50))])) < 0.3
