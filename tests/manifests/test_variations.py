import numpy as np
import pytest

from joyvasa.options import AnimationConfig
from manifests.option_columns import parse_variation
from manifests.problems import ManifestError
from pipelines.runs.config import build_option_columns

OPTIONS = build_option_columns(AnimationConfig())
IDS = [f"record-{n}" for n in range(2000)]


def draw(text, ids=IDS, seed=0):
    return parse_variation(text, OPTIONS, seed=seed).draw(ids).to_pylist()


def test_numbers_fill_their_range_evenly():
    values = np.array(draw("pose.yaw=-15:15"))
    assert values.min() >= -15
    assert values.max() <= 15
    counts, _ = np.histogram(values, bins=6, range=(-15, 15))
    assert counts.min() > 270


def test_a_draw_depends_on_the_seed_the_option_and_the_record_alone():
    values = draw("pose.yaw=-15:15")
    assert draw("pose.yaw=-15:15", IDS[::-1])[::-1] == values
    assert draw("pose.yaw=-15:15", IDS[:10]) == values[:10]
    assert draw("pose.yaw=-15:15", seed=1) != values
    assert abs(np.corrcoef(values, draw("pose.roll=-15:15"))[0, 1]) < 0.1


def test_whole_numbers_include_both_ends():
    assert set(draw("face.index=0:2")) == {0, 1, 2}


def test_choices_are_drawn_equally_often():
    values = draw("driving.region=all,lip,pose")
    assert all(values.count(choice) > 600 for choice in ("all", "lip", "pose"))
    assert set(draw("paste_back=true,false")) == {True, False}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("pose.yaw", "expected NAME=LOW:HIGH"),
        ("pose.yaw=", "expected NAME=LOW:HIGH"),
        ("pose.yav=-1:1", "did you mean pose.yaw"),
        ("pose.yaw=15:-15", "LOW below HIGH"),
        ("pose.yaw=-1:0:1", "LOW below HIGH"),
        ("pose.yaw=-99:1", "pose.yaw: expected -30 to 30 degrees"),
        ("face.index=0:1.5", "face.index: expected a whole number"),
        ("driving.region=all:lip", "is no number; expected choices"),
        ("device=cpu,cuda", "no option that a row may set is named device"),
    ],
)
def test_bad_variations_are_refused_in_one_sentence(text, sentence):
    with pytest.raises(ManifestError, match="variation_invalid") as error:
        draw(text)
    assert sentence in error.value.sentence
