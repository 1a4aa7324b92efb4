import numpy as np
import pytest

from joyvasa.options import AnimationConfig
from joyvasa.sample.measurement.control_effects import (
    TILE,
    TRIALS,
    Result,
    draw_sheet,
    set_options,
    write_results,
)
from joyvasa.sample.measurement.sheets import CAPTION


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: f"{trial.control}={trial.value:g}")
def test_trials_set_values_that_an_animation_may_have(trial):
    assert set_options(AnimationConfig(), {trial.control: trial.value}) != AnimationConfig()


def test_the_table_marks_controls_that_miss_their_aim(tmp_path):
    trial = TRIALS[0]
    inside, outside = (trial.low + trial.high) / 2, trial.high + 1
    results = [Result(trial, [inside, inside], [0.9, 0.8]), Result(trial, [inside, outside], [0.9, 0.8])]
    text = write_results(tmp_path, results, {"gaze.x": "no irises"}, ["anna", "ben"])
    lines = text.splitlines()
    assert [line.rsplit("|", 2)[1].strip() for line in lines[2:4]] == ["yes", "NO"]
    assert "refused: no irises" in lines[4]
    assert len({line.count("|") for line in lines}) == 1
    assert (tmp_path / "controls.md").read_text() == text


def test_the_table_shows_readings_before_their_correction(tmp_path):
    trial = next(trial for trial in TRIALS if trial.response == "eyes")
    text = write_results(tmp_path, [Result(trial, [0.62], [0.9], [0.93])], {}, ["anna"])
    assert "iris network, times, corrected | 0.5 to 0.8 | 0.62 (read 0.93) |" in text


def test_a_sheet_has_a_caption_and_a_row_per_portrait():
    tile = np.full((64, 64, 3), 7, np.uint8)
    sheet = draw_sheet(["without", "smile=1"], [[tile, tile], [tile, tile], [tile, tile]])
    assert sheet.shape == (CAPTION + 3 * TILE, 2 * TILE, 3)
