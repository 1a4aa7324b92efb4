import pytest
import torch

from joyvasa.errors import ConfigError
from joyvasa.networks.diffusion import DiffusionSchedule, draw_noise, noise_sequence


@pytest.fixture
def schedule():
    return DiffusionSchedule(50, "cosine")


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_unknown_mode_and_bad_length_are_refused():
    with pytest.raises(ConfigError, match="expected linear, cosine"):
        DiffusionSchedule(8, "square")
    with pytest.raises(ConfigError, match="found 0"):
        DiffusionSchedule(0)


def test_schedule_stays_in_float32_when_the_network_is_cast_to_half(schedule):
    before = schedule.alpha_bars.clone()
    torch.nn.Sequential(schedule).half()
    assert schedule.alpha_bars.dtype == torch.float32
    torch.testing.assert_close(schedule.alpha_bars, before, rtol=0, atol=0)


@pytest.mark.parametrize("step", [1, 20, 50])
def test_both_targets_give_the_same_ancestral_step_if_they_agree(schedule, step):
    clean, noise, step_noise = torch.randn(3, 2, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = schedule.double().add_noise(clean, noise, torch.full((2,), step))
    by_sample = schedule.ancestral_step(x, clean, step_noise, step, "sample")
    by_noise = schedule.ancestral_step(x, noise, step_noise, step, "noise")
    # The schedule is float32, and the noise form divides by sqrt(alpha), down to 0.03 at the last step.
    torch.testing.assert_close(by_sample, by_noise, rtol=0, atol=1e-4)
    torch.testing.assert_close(schedule.clean_from_noise(x, noise, step), clean, rtol=0, atol=1e-4)


def test_ddim_with_a_perfect_prediction_follows_the_noise_to_clean_motion(schedule):
    clean, noise = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    x = schedule.add_noise(clean, noise, torch.full((3,), 50))
    for step, next_step in ((50, 30), (30, 1)):
        x = schedule.ddim_step(x, clean, step, next_step)
        torch.testing.assert_close(x, schedule.add_noise(clean, noise, torch.full((3,), next_step)))
    torch.testing.assert_close(schedule.ddim_step(x, clean, 1, 0), clean)


@pytest.mark.parametrize("n_steps", [1, 2, 5, 25, 49, 50])
def test_few_steps_start_at_the_noise_end_at_step_one_and_never_repeat(schedule, n_steps):
    visited = schedule.subsequence(n_steps)
    assert len(visited) == n_steps + 1
    assert visited[0] == 50
    assert visited[-1] == 0
    assert n_steps == 1 or visited[-2] == 1
    assert visited == sorted(set(visited), reverse=True)


@pytest.mark.parametrize("n_steps", [0, 51])
def test_more_steps_than_trained_are_refused(schedule, n_steps):
    with pytest.raises(ConfigError, match="expected 1 to 50"):
        schedule.subsequence(n_steps)


def test_draws_of_a_record_do_not_depend_on_the_batch():
    cpu = torch.device("cpu")
    together = draw_noise((3, 4, 5), generators(1, 2, 3), cpu)
    for record, seed in enumerate((1, 2, 3)):
        torch.testing.assert_close(together[record : record + 1], draw_noise((1, 4, 5), generators(seed), cpu))
    with pytest.raises(ValueError, match="2 generators for a batch of 3"):
        draw_noise((3, 4, 5), generators(1, 2), cpu)


def test_with_a_given_start_the_generator_draws_for_the_steps_only():
    cpu, start = torch.device("cpu"), torch.zeros(1, 4, 5)
    draws = noise_sequence((1, 4, 5), cpu, start, generators(1))
    assert torch.equal(next(draws), start)
    torch.testing.assert_close(next(draws), draw_noise((1, 4, 5), generators(1), cpu))


def test_recorded_draws_are_used_in_order_and_must_suffice():
    tape = torch.randn(2, 1, 4, 5)
    draws = noise_sequence((1, 4, 5), torch.device("cpu"), tape)
    torch.testing.assert_close(torch.stack([next(draws), next(draws)]), tape)
    with pytest.raises(ValueError, match="more than the 2 draws"):
        next(draws)
