import numpy as np
import pytest

from joyvasa.training.scenes import FrameMeter, find_frozen_frames, find_scene_starts
from tests.joyvasa.training.recordings import empty, talking


def metered(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    meter = FrameMeter()
    numbers = [meter.measure(frame) for frame in frames]
    return np.array([change for change, _ in numbers]), np.array([still for _, still in numbers])


def test_a_change_of_scene_is_found_where_it_is_and_a_moving_face_is_none():
    changes, _ = metered(np.concatenate([talking(20), empty(15), talking(20)]))
    assert find_scene_starts(changes) == [20, 35]


def test_a_steady_flicker_is_no_change_of_scene():
    assert find_scene_starts(np.full(30, 40.0)) == []


def test_the_first_frame_begins_no_scene():
    assert find_scene_starts(np.array([100.0, 0, 0, 0])) == []


@pytest.mark.parametrize(("least", "expected"), [(10, 15), (15, 15), (16, 0)])
def test_a_stretch_that_stands_still_is_found_whole(least, expected):
    face = talking(40)
    face[10:25] = face[10]
    frozen = find_frozen_frames(metered(face)[1], least)
    assert frozen.sum() == expected
    assert not expected or frozen[10:25].all()


def test_noise_of_a_camera_does_not_hide_a_frozen_picture():
    rng = np.random.default_rng(0)
    still = np.repeat(talking(1), 30, axis=0).astype(int)
    noisy = np.clip(still + rng.integers(-2, 3, still.shape), 0, 255).astype(np.uint8)
    assert find_frozen_frames(metered(noisy)[1], 25).all()
