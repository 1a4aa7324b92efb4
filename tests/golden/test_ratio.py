import numpy as np
import pytest

from joyvasa.faces.insightface import compute_eye_ratios, compute_lip_ratios
from tests.golden.reference import Section


@pytest.fixture(scope="module")
def section() -> Section:
    return Section("ratio")


def with_target(ratios, target):
    """Append the target ratio: the input of the reference's retargeting networks."""
    return np.concatenate([ratios, np.full((len(ratios), 1), target, np.float32)], axis=1)


def test_eye_ratios_match(section):
    landmarks = section.input("lmk203").numpy()
    section.check("eye_ratio", compute_eye_ratios(landmarks), 1e-5)
    target = section.input("target_eye").item()
    section.check("eye_ratio_target", with_target(compute_eye_ratios(landmarks), target), 1e-5)
    section.check("combined_eye", with_target(compute_eye_ratios(landmarks), 0.31), 1e-5)


def test_lip_ratios_match(section):
    landmarks = section.input("lmk203").numpy()
    section.check("lip_ratio", compute_lip_ratios(landmarks), 1e-5)
    section.check("combined_lip", with_target(compute_lip_ratios(landmarks), 0.0), 1e-5)
