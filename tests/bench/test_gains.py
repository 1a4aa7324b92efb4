"""Gains are ratios of measured times, and both sides compute the same results."""

import statistics

import pytest

from joyvasa.config import load_config
from pipelines.runs.config import RunConfig
from tests.bench.gains import Amounts, measure_gains

pytestmark = pytest.mark.slow

SETTINGS = ["animation.models=random", "executor=local", "animation.picture.max_side=128"]
STAGES = ("hash_inputs", "portrait", "speech", "motion", "render", "verify_output")


@pytest.fixture(scope="module")
def gains():
    batches = [f"stages.{name}.batch_size=2" for name in STAGES]
    amounts = Amounts(records=2, sound_s=0.12, motion_records=2, motion_s=5.0, render_frames=3, rounds=1)
    return measure_gains(load_config(RunConfig, settings=[*SETTINGS, *batches]), amounts)


def test_a_gain_is_the_ratio_of_two_medians(gains):
    assert [gain.name for gain in gains] == ["render", "motion", "chain"]
    for gain in gains:
        assert gain.ratio == pytest.approx(statistics.median(gain.baseline_s) / statistics.median(gain.ours_s))
        assert len(gain.baseline_s) == len(gain.ours_s) == 1


def test_the_baseline_computes_the_same_results(gains):
    render, motion, _ = gains
    assert render.difference <= 1  # rounding
    assert motion.difference <= 1e-4
