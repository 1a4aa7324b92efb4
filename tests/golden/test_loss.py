"""Training losses, truncation and one training iteration equal the reference."""

import pytest
import torch

from joyvasa.training.config import OptimizerConfig
from joyvasa.training.losses import LossConfig, compute_loss_terms
from joyvasa.training.objective import compute_pair_loss
from joyvasa.training.optimizer import Optimizer, compute_learning_rate
from joyvasa.training.samples import TrainingBatch, truncate_windows
from tests.golden.reference import Section, base_seed

TOLERANCE = 1e-5
SEED = 10_007  # random states of the section are the base seed modulo this
TERMS = (
    "prediction",
    "expression",
    "expression_velocity",
    "expression_smoothness",
    "head_angle",
    "head_velocity",
    "head_smoothness",
    "head_transition",
)
LOGGED = {
    "prediction": "train/simple_loss",
    "expression": "train/exp_loss",
    "expression_velocity": "train/exp_vel_loss",
    "expression_smoothness": "train/exp_smooth_loss",
    "head_angle": "train/head_angle",
    "head_velocity": "train/head_vel",
    "head_smoothness": "train/head_smooth",
    "head_transition": "train/head_trans",
}
FULL, ENDS, TINY = [100, 100, 100], [7, 55, 99], [1, 2, 3]
CASES = {
    "start": (False, FULL, {}),
    "second": (True, FULL, {}),
    "start_trunc": (False, ENDS, {}),
    "second_trunc": (True, ENDS, {}),
    "second_trunc_tiny": (True, TINY, {}),
    "second_l1": (True, FULL, {"criterion": "l1"}),
    "second_noconstrain": (True, ENDS, {"compare_previous": False}),
}


@pytest.fixture(scope="module")
def section():
    return Section("loss")


def listed(terms):
    return [float(terms[name]) if name in terms else float("nan") for name in TERMS]


@pytest.mark.parametrize("size", [70, 73])
@pytest.mark.parametrize("case", CASES)
def test_terms_match(section, case, size):
    second, end, options = CASES[case]
    terms = compute_loss_terms(
        section.input(f"target_{size}"),
        section.input(f"gt_{size}"),
        expression_size=63,
        end=torch.tensor(end),
        previous=section.input(f"prev_{size}") if second else None,
        config=LossConfig(**options),
    )
    assert listed(terms) == pytest.approx(section.stored[f"{size}_{case}"].tolist(), rel=TOLERANCE, nan_ok=True)


def test_the_stored_ends_of_truncated_windows_are_used(section):
    assert section.input("end_idx_70").tolist() == section.input("end_idx_73").tolist() == ENDS


@pytest.mark.parametrize("size", [70, 73])
def test_terms_of_a_network_that_predicts_noise_match(section, size):
    terms = compute_loss_terms(
        section.input(f"target_{size}"),
        section.input(f"gt_{size}"),
        expression_size=63,
        end=torch.tensor(FULL),
        noise=section.input(f"noise_{size}"),
        target="noise",
    )
    assert listed(terms) == pytest.approx(section.stored[f"{size}_noise_target"].tolist(), rel=TOLERANCE, nan_ok=True)


@pytest.mark.parametrize("mode", ["zero", "replicate"])
def test_truncation_matches(section, mode):
    torch.manual_seed(base_seed() % SEED)
    end = torch.randint(1, 100, (3,))
    section.check(f"trunc_{mode}_end", end, 0)
    audio, motion = truncate_windows(section.input("audio"), section.input("motion"), end, mode)
    section.check(f"trunc_{mode}_audio", audio, TOLERANCE)
    section.check(f"trunc_{mode}_motion", motion, TOLERANCE)


class StandIn(torch.nn.Module):
    """Linear map that replaces the network in the stored iteration."""

    class config:  # noqa: N801
        n_prev_motions, target = 25, "sample"

    def __init__(self, section):
        super().__init__()
        self.weight = torch.nn.Parameter(section.input("standin_weight"))
        self.start_motion_feat = section.input("standin_start")
        self.start_audio_feat = torch.zeros(1, 25, 1)

    def encode(self, audio):
        return torch.zeros(len(audio), 100, 1)

    def forward(self, motion, audio, *, prev_motion, **_):
        return torch.cat([prev_motion, motion], dim=1) @ self.weight


@pytest.mark.parametrize("case", ["notrunc", "trunc"])
def test_one_iteration_of_training_matches(section, case):
    network = StandIn(section)
    batch = TrainingBatch(
        audio=torch.stack([section.input(f"train_audio{window}") for window in range(2)], dim=1),
        motion=torch.stack([section.input(f"train_motion{window}") for window in range(2)], dim=1),
        end=draw_ends(truncate=case == "trunc"),
        step=torch.ones(4, 2, dtype=torch.int64),
        noise=torch.zeros(4, 2, 100, 70),
        without_audio=torch.zeros(4, 2, dtype=torch.bool),
    )
    config = LossConfig(losses="reference")
    loss, parts = compute_pair_loss(network, batch, expression_size=63, config=config)
    optimizer = Optimizer(network, OptimizerConfig(), steps=50_000)
    optimizer.backward(loss)
    optimizer.step(0)

    stored = dict(zip(section.stored[f"train_{case}_names"], section.stored[f"train_{case}_values"], strict=True))
    actual = {LOGGED[name]: value.item() for name, value in parts.items()}
    actual |= {"train/total_loss": loss.item(), "opt/lr": compute_learning_rate(OptimizerConfig(), 0, 50_000)}
    assert actual == pytest.approx(stored, rel=TOLERANCE)
    section.check(f"train_{case}_weight_after", network.weight, TOLERANCE)


def draw_ends(*, truncate):
    """Draw the ends of both windows as the reference does."""
    torch.manual_seed(base_seed() % SEED)
    return torch.stack([torch.randint(1, 100, (4,)) if truncate else torch.full((4,), 100) for _ in range(2)], dim=1)
