import numpy as np
import pytest
import torch

from joyvasa.errors import InputError, ModelError
from joyvasa.motion.sequence import MotionSequence, MotionTemplate, head_angles
from tests.motions import motion_to_arrays

KEYPOINTS = 5


def motion(n_frames=6):
    generator = torch.Generator().manual_seed(0)
    expression = torch.randn(n_frames, KEYPOINTS, 3, generator=generator)
    return MotionSequence.from_pose(expression, 40 * torch.rand(n_frames, 7, generator=generator), 30.0)


def template_arrays():
    arrays = {"mean_exp": np.full(3 * KEYPOINTS, 0.5), "std_exp": np.full(3 * KEYPOINTS, 2.0), "mean_lip": np.zeros(2)}
    for index, (name, size) in enumerate({"scale": 1, "t": 3, "pitch": 1, "yaw": 1, "roll": 1}.items()):
        arrays |= {f"min_{name}": np.full(size, index), f"max_{name}": np.full(size, index + 2.0)}
    return arrays


def test_slices_have_all_tensors_and_the_frame_rate():
    part = motion()[2:5]
    assert len(part) == 3
    assert part.frames_per_second == 30.0
    torch.testing.assert_close(part.pose, motion().pose[2:5])
    torch.testing.assert_close(part.rotation, motion().rotation[2:5])


def test_a_motion_is_restored_from_its_arrays():
    back = MotionSequence.from_arrays(motion_to_arrays(motion()))
    torch.testing.assert_close(back.pose, motion().pose)
    torch.testing.assert_close(back.expression, motion().expression)
    assert back.frames_per_second == 30.0


@pytest.mark.parametrize("kind", [">f4", ">f8", ">i2", "<u8", "g"])
def test_arrays_of_any_byte_order_and_size_are_read(kind):
    arrays = {name: np.round(array).astype(kind) for name, array in motion_to_arrays(motion()).items()}
    back = MotionSequence.from_arrays(arrays)
    np.testing.assert_array_equal(back.translation, arrays["t"].astype(np.float32))


def test_motion_files_without_angles_give_the_same_rotation():
    arrays = motion_to_arrays(motion())
    arrays = {"exp": arrays["exp"][:, None], "scale": arrays["scale"][:, 0], "t": arrays["t"], "R": arrays["R"]}
    back = MotionSequence.from_arrays(arrays)
    torch.testing.assert_close(back.rotation, motion().rotation)
    torch.testing.assert_close(back.yaw, motion().yaw, rtol=1e-4, atol=1e-4)
    assert back.expression.shape == (6, KEYPOINTS, 3)
    assert back.frames_per_second == 25.0


def test_angles_of_a_right_angle_are_finite():
    rotation = MotionSequence.from_pose(
        torch.zeros(1, 1, 3), torch.tensor([[1.0, 0, 0, 0, 0, 90, 0]])
    ).rotation  # the sine may be rounded above 1
    assert head_angles(rotation)[1].isfinite().all()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"t": None}, "motion_incomplete"),
        ({"t": np.zeros((6, 2))}, "motion_shape"),
        ({"exp": np.zeros((6, 4))}, "motion_shape"),
        ({"exp": np.zeros((0, 5, 3))}, "motion_shape"),
        ({"scale": np.zeros(12)}, "motion_shape"),
        ({"yaw": np.full((6, 1), np.nan)}, "motion_not_finite"),
        ({"yaw": np.full((6, 1), 1e300)}, "motion_not_finite"),
    ],
)
def test_invalid_motion_files_are_rejected_by_name(change, code):
    arrays = {name: value for name, value in (motion_to_arrays(motion()) | change).items() if value is not None}
    with pytest.raises(InputError, match=rf"{code}: clip\.npz: ") as caught:
        MotionSequence.from_arrays(arrays, name="clip.npz")
    assert next(iter(change)) in caught.value.sentence


def test_template_scales_expression_and_pose_only():
    template = MotionTemplate.from_arrays(template_arrays())
    coefficients = torch.cat([torch.ones(4, 3 * KEYPOINTS), torch.full((4, 7), 0.25), torch.full((4, 3), 99.0)], dim=1)
    sequence = template.denormalize(coefficients)
    torch.testing.assert_close(sequence.expression, torch.full((4, KEYPOINTS, 3), 2.5))
    torch.testing.assert_close(sequence.pose[0], torch.tensor([0.5, 1.5, 1.5, 1.5, 2.5, 3.5, 4.5]))
    assert sequence.pose.dtype == torch.float32


@pytest.mark.parametrize("kind", [">f8", ">f4", "g", "<f2"])
def test_templates_of_any_byte_order_and_size_are_read(kind):
    template = MotionTemplate.from_arrays({name: array.astype(kind) for name, array in template_arrays().items()})
    assert template.expression_std.tolist() == [2.0] * 3 * KEYPOINTS


def test_template_with_more_keypoints_than_the_network_is_rejected():
    with pytest.raises(ModelError, match="21 numbers per frame; expected at least 22"):
        MotionTemplate.from_arrays(template_arrays()).denormalize(torch.zeros(4, 21))


@pytest.mark.parametrize(
    "change",
    [{"std_exp": None}, {"std_exp": np.ones(3)}, {"max_t": np.ones(2)}, {"min_yaw": [np.nan]}, {"mean_exp": []}],
)
def test_incomplete_templates_are_rejected(change):
    arrays = {name: value for name, value in (template_arrays() | change).items() if value is not None}
    with pytest.raises(ModelError, match=next(iter(change))):
        MotionTemplate.from_arrays(arrays)
