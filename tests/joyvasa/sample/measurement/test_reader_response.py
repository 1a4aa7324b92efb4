import numpy as np
import pytest

from joyvasa.sample.measurement.reader_response import CLOSURES, JAWS, RISES, SMILES, ResponseCurve, measure_responses


def test_a_curve_returns_the_motion_that_gives_a_reading():
    curve = ResponseCurve(np.array([0.0, 0.5, 1.0]), np.array([0.5, 0.9, 1.0]))
    assert curve.correct(0.9) == pytest.approx(0.5, abs=1e-4)
    assert curve.correct(0.7) == pytest.approx(0.25, abs=1e-4)
    assert curve.correct(1.2) == 1.0


def test_a_curve_that_falls_by_noise_is_leveled():
    curve = ResponseCurve(np.arange(4.0), np.array([0.0, 0.2, 0.1, 0.4]))
    assert curve.correct(0.3) == pytest.approx(2.5, abs=1e-3)
    assert curve.correct(0.15) == pytest.approx(0.75, abs=1e-3)


def test_curves_relate_known_motion_to_readings_of_rendered_pictures(monkeypatch):
    module = "joyvasa.sample.measurement.reader_response"
    monkeypatch.setattr(f"{module}.mean_head", lambda meshes: meshes[0])
    monkeypatch.setattr(f"{module}.Head", lambda mesh, mean, size: type("Head", (), {"gap": 0.1, "pose": None}))
    rendered = []

    def render_scene(face, head, expression, pose, *, person):
        rendered.append(expression)
        return type("Scene", (), {"picture": np.zeros((4, 4, 3))})

    monkeypatch.setattr(f"{module}.render_scene", render_scene)

    def read(crops):  # a reader that sees half of each motion
        last = rendered[-len(crops) :]
        return {
            "teacher_eyes": np.array([[0.3 * (1 - e.blink[0] / 2)] * 2 for e in last]),
            "brows": np.array([0.4 + e.brow[0] / 2 for e in last]),
            "corners": np.array([0.1 + 0.6 * e.smile / 2 for e in last]),
            "mouth": np.array([0.05 + e.jaw / 0.69 / 2 for e in last]),
            "teacher_mouth": np.array([0.06 + e.jaw / 2 for e in last]),
        }

    curves = measure_responses(np.zeros((4, 4, 3), np.uint8), np.zeros((468, 3)), read)
    assert len(rendered) == len(CLOSURES) + len(RISES) + len(SMILES) + len(JAWS)
    assert all(expression.jaw == 0.1 for expression in rendered[: -len(JAWS)])
    assert curves["eyes"].correct(0.75) == pytest.approx(0.5, abs=1e-3)
    assert curves["brows"].correct(0.05) == pytest.approx(0.1, abs=1e-3)
    assert curves["mouth"].correct(0.15) == pytest.approx(0.2, abs=1e-3)
    assert curves["mouth"].correct(0.02) == 0.0
    assert curves["lips"].readings[0] == pytest.approx(0.06)
    assert curves["corners"].correct(-0.03) == pytest.approx(-0.06, abs=1e-3)
