import numpy as np
import pytest

from joyvasa.media.scenes import FrameMeter, find_frozen_frames, find_scene_starts
from tests.joyvasa.training.recordings import empty, talking


def measure(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    meter = FrameMeter()
    numbers = [meter.measure(frame) for frame in frames]
    return np.array([change for change, _ in numbers]), np.array([still for _, still in numbers])


def test_a_scene_change_is_found_and_a_moving_face_is_none():
    changes, _ = measure(np.concatenate([talking(20), empty(15), talking(20)]))
    assert find_scene_starts(changes) == [20, 35]


def test_a_steady_flicker_is_no_scene_change():
    assert find_scene_starts(np.full(30, 40.0)) == []


def test_the_first_frame_is_no_scene_change():
    assert find_scene_starts(np.array([100.0, 0, 0, 0])) == []


@pytest.mark.parametrize(("min_frames", "expected"), [(10, 15), (15, 15), (16, 0)])
def test_a_still_section_is_found_as_a_whole(min_frames, expected):
    face = talking(40)
    face[10:25] = face[10]
    frozen = find_frozen_frames(measure(face)[1], min_frames)
    assert frozen.sum() == expected
    assert not expected or frozen[10:25].all()


def test_camera_noise_does_not_hide_a_frozen_picture():
    rng = np.random.default_rng(0)
    still = np.repeat(talking(1), 30, axis=0).astype(int)
    noisy = np.clip(still + rng.integers(-2, 3, still.shape), 0, 255).astype(np.uint8)
    assert find_frozen_frames(measure(noisy)[1], 25).all()
