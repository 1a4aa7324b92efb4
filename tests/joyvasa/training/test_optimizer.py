import copy

import pytest
import torch

from joyvasa.errors import ConfigError
from joyvasa.training.config import OptimizerConfig
from joyvasa.training.optimizer import Optimizer, compute_learning_rate


def rates(**options):
    config = OptimizerConfig(learning_rate=0.1, **options)
    return [round(compute_learning_rate(config, step, 10), 6) for step in range(10)]


def test_schedules():
    assert rates() == [0.1] * 10
    assert rates(warmup_steps=4)[:5] == [0.025, 0.05, 0.075, 0.1, 0.1]
    assert rates(schedule="linear") == pytest.approx([0.1 * (1 - step / 10) for step in range(10)])
    cosine = rates(schedule="cosine", final_share=0.5)
    assert cosine[0] == 0.1
    assert cosine[5] == pytest.approx(0.075)
    assert cosine == sorted(cosine, reverse=True)
    assert min(cosine) > 0.05


@pytest.mark.parametrize(
    "options", [{"learning_rate": 0}, {"clip_norm": 0}, {"ema_decay": 1}, {"warmup_steps": -1}, {"final_share": 2}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match=f"optimizer.{next(iter(options))}"):
        OptimizerConfig(**options)


def run_step(network, optimizer, step):
    torch.manual_seed(step)
    optimizer.backward(network(torch.randn(8, 3)).square().mean())
    return optimizer.step(step)


def test_a_restored_optimizer_continues_as_without_interruption():
    torch.manual_seed(0)
    network = torch.nn.Linear(3, 2)
    config = OptimizerConfig(learning_rate=0.01, ema_decay=0.9)
    optimizer = Optimizer(network, config, steps=10)
    for step in range(3):
        run_step(network, optimizer, step)
    other = copy.deepcopy(network)
    restored = Optimizer(other, config, steps=10)
    tensors, numbers = optimizer.state()
    restored.restore({name: value.clone() for name, value in tensors.items()}, numbers)
    for step in range(3, 6):
        assert run_step(network, optimizer, step) == run_step(other, restored, step)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(optimizer.average[name], restored.average[name]) for name in optimizer.average)


def test_a_state_from_before_the_first_step_can_be_restored():
    network = torch.nn.Linear(3, 2)
    tensors, numbers = Optimizer(network, OptimizerConfig(), steps=10).state()
    restored = Optimizer(network, OptimizerConfig(), steps=10)
    restored.restore(tensors, numbers)
    assert run_step(network, restored, 0) > 0


def test_gradients_are_clipped_and_their_norm_is_returned():
    network = torch.nn.Linear(3, 1)
    optimizer = Optimizer(network, OptimizerConfig(clip_norm=0.5), steps=1)
    optimizer.backward(1000 * network(torch.ones(1, 3)).sum())
    assert optimizer.step(0) == pytest.approx(2000)


def test_weights_without_a_gradient_stay_and_the_others_have_one():
    network = torch.nn.ModuleDict({"used": torch.nn.Linear(2, 1), "unused": torch.nn.Linear(2, 1)})
    network["used"].bias.requires_grad_(False)
    optimizer = Optimizer(network, OptimizerConfig(), steps=1)
    optimizer.backward(network["used"](torch.ones(1, 2)).sum())
    gradients = optimizer.gradients()
    assert len(gradients) == 3
    assert "used.bias" not in optimizer.parameters
