"""The simulation of many GPUs: one driver keeps them busy, and survives deaths."""

import pytest

from pipelines.bench import simulation
from pipelines.bench.simulation import simulate


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(simulation, "WARM_UP_S", 45.0)
    monkeypatch.setattr(simulation, "MEASURED_S", 30.0)


def test_simulated_gpus_are_used_by_one_driver():
    figure = simulate(16, deaths=False)
    assert figure.used == pytest.approx(1, abs=0.1)
    assert figure.records_per_s == pytest.approx(16, abs=1.6)
    assert 0 < figure.driver_share < 0.5


def test_workers_that_die_every_second_cost_little_more_than_their_own_work(monkeypatch):
    monkeypatch.setattr(simulation, "NODE_LOSS_EVERY_S", 20.0)
    figure = simulate(64, deaths=True)
    assert figure.used > 0.85
    assert figure.records_per_s < 64
