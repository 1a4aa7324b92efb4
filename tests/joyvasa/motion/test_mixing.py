import pytest
import torch

from joyvasa.errors import ConfigError, InputError
from joyvasa.motion.driving import LIP_INDICES, DrivingConfig
from joyvasa.motion.mixing import mix_motions
from tests.motions import random_motion

DRIVING, SAMPLED = random_motion(seed=1), random_motion(seed=2)
REST = [index for index in range(21) if index not in LIP_INDICES]


@pytest.mark.parametrize(("source", "weight"), [("motion", 0.0), ("sound", 1.0), ("mix", 0.5)])
def test_only_the_lips_follow_the_sound(source, weight):
    mixed = mix_motions(DRIVING, SAMPLED, DrivingConfig(mouth_from=source))
    lips = list(LIP_INDICES)
    expected = torch.lerp(DRIVING.expression[:, lips], SAMPLED.expression[:, lips], weight)
    assert torch.allclose(mixed.expression[:, lips], expected)
    assert mixed.expression[:, REST].equal(DRIVING.expression[:, REST])
    assert mixed.pose.equal(DRIVING.pose)


def test_lips_of_unknown_keypoints_must_be_named():
    driving, sampled = random_motion(keypoints=9), random_motion(keypoints=9, seed=2)
    with pytest.raises(ConfigError, match="mouth_from: found sound for a motion of 9 keypoints"):
        mix_motions(driving, sampled, DrivingConfig(mouth_from="sound"))
    mixed = mix_motions(driving, sampled, DrivingConfig(mouth_from="sound", lip_indices=(4,)))
    assert mixed.expression[:, 4].equal(sampled.expression[:, 4])


def test_an_unknown_source_is_refused():
    with pytest.raises(ConfigError, match="mouth_from: found 'both'"):
        DrivingConfig(mouth_from="both")  # type: ignore[arg-type]


def test_a_motion_of_other_keypoints_than_those_of_the_models_is_refused():
    config = DrivingConfig(mouth_from="mix", lip_indices=(0,))
    for keypoints in (1, 24):
        with pytest.raises(InputError, match=f"keypoints_mismatch: .* found {keypoints} keypoints; expected .* 21"):
            mix_motions(random_motion(keypoints=keypoints), SAMPLED, config)
