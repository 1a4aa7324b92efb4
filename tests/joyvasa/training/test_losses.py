import pytest
import torch

from joyvasa.errors import ConfigError
from joyvasa.training.losses import EXPRESSION_TERMS, LossConfig, combine_loss_terms, compute_loss_terms


@pytest.fixture
def frames():
    torch.manual_seed(0)
    return {"prediction": torch.randn(2, 14, 70), "clean": torch.randn(2, 10, 70), "previous": torch.randn(2, 4, 70)}


def compute_terms(frames, end=(10, 10), config=None, **changes):
    arguments = {**frames, **changes}
    prediction, clean = arguments.pop("prediction"), arguments.pop("clean")
    return compute_loss_terms(prediction, clean, expression_size=63, end=torch.tensor(end), config=config, **arguments)


def test_a_perfect_prediction_costs_only_its_own_motion(frames):
    prediction = torch.cat([frames["previous"], frames["clean"]], dim=1)
    terms = compute_terms(frames, prediction=prediction)
    zero = ("prediction", "expression", "expression_velocity", "head_angle", "head_velocity")
    assert all(terms[name] == 0 for name in zero)
    assert terms["head_smoothness"] > 0


def test_frames_after_the_end_do_not_count(frames):
    other = frames["prediction"].clone()
    other[0, 4 + 6 :] = 1000
    assert compute_terms(frames, end=(6, 10)) == compute_terms(frames, end=(6, 10), prediction=other)


def test_frames_before_the_window_count_only_for_the_second_window(frames):
    other = frames["prediction"].clone()
    other[:, 0] += 1
    assert compute_terms(frames, previous=None) == compute_terms(frames, previous=None, prediction=other)
    assert compute_terms(frames)["prediction"] != compute_terms(frames, prediction=other)["prediction"]
    alone = LossConfig(compare_previous=False)
    assert compute_terms(frames, config=alone) == compute_terms(frames, config=alone, prediction=other)


def test_a_window_of_one_frame_has_no_velocity(frames):
    terms = compute_terms(frames, end=(1, 1), previous=None)
    assert all(torch.isfinite(value) for value in terms.values())
    assert terms["head_velocity"] == terms["head_smoothness"] == 0


def test_only_the_second_window_has_a_joint(frames):
    assert "head_transition" not in compute_terms(frames, previous=None)
    assert "head_transition" in compute_terms(frames)


def test_both_windows_have_equal_weight(frames):
    first, second = compute_terms(frames, previous=None), compute_terms(frames)
    total, parts = combine_loss_terms(first, second)
    for name in second:
        both = (first[name] + second[name]) / 2 if name in first else second[name]
        assert parts[name].item() == pytest.approx((LossConfig().weights[name] * both).item())
    assert total.item() == pytest.approx(sum(part.item() for part in parts.values()))


def test_the_reference_loses_the_expression_of_the_first_window(frames):
    first, second = compute_terms(frames, previous=None), compute_terms(frames)
    config = LossConfig(losses="reference")
    _, parts = combine_loss_terms({name: 0 * value for name, value in first.items()}, second, config)
    _, with_first = combine_loss_terms(first, second, config)
    for name in EXPRESSION_TERMS:
        assert parts[name] == with_first[name]
    assert parts["prediction"] != with_first["prediction"]


def test_a_network_that_predicts_noise_has_only_the_term_of_the_noise(frames):
    noise = torch.randn(2, 10, 70)
    prediction = torch.cat([torch.randn(2, 4, 70), noise], dim=1)
    assert compute_terms(frames, prediction=prediction, noise=noise, target="noise") == {"prediction": 0}


def test_weights_below_zero_are_refused():
    with pytest.raises(ConfigError, match=r"loss\.expression is -1"):
        LossConfig(expression=-1)
