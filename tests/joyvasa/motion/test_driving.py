import dataclasses
import math

import pytest
import torch

from joyvasa.errors import ConfigError, InputError, ModelError
from joyvasa.motion.driving import EYE_INDICES, LIP_INDICES, DrivingConfig, PortraitDriver, find_driven_parts
from joyvasa.motion.keypoints import KeypointInfo, head_rotation, transform_keypoints
from joyvasa.motion.sequence import MotionSequence
from joyvasa.networks import build


def make_source(keypoints=21):
    draw = torch.Generator().manual_seed(1)
    return KeypointInfo(
        pitch=torch.tensor([[5.0]]),
        yaw=torch.tensor([[-12.0]]),
        roll=torch.tensor([[3.0]]),
        translation=torch.tensor([[0.05, -0.02, 0.7]]),
        expression=0.03 * torch.randn(1, keypoints, 3, generator=draw),
        scale=torch.tensor([[1.4]]),
        canonical=0.3 * torch.randn(1, keypoints, 3, generator=draw),
    )


def make_motion(frames=7, keypoints=21):
    draw = torch.Generator().manual_seed(2)
    pitch, yaw, roll = (8 * torch.randn(frames, 1, generator=draw) for _ in range(3))
    return MotionSequence(
        expression=0.05 * torch.randn(frames, keypoints, 3, generator=draw),
        scale=1.3 + 0.2 * torch.rand(frames, 1, generator=draw),
        translation=0.1 * torch.randn(frames, 3, generator=draw),
        pitch=pitch,
        yaw=yaw,
        roll=roll,
        frames_per_second=25.0,
    )


def small_networks(keypoints=21):
    torch.manual_seed(4)
    return {
        "stitching": build("stitching", keypoints=keypoints, hidden=[16]),
        "lip": build("lip", keypoints=keypoints, hidden=[16]),
    }


def driver(config, source=None, motion=None, **extra):
    motion = make_motion() if motion is None else motion
    return PortraitDriver(config, source=source or make_source(), first_frame=motion[:1], **extra)


def changed_expression(config):
    """Return the indices of keypoints that follow a motion of expressions only."""
    motion = make_motion()
    still = {name: getattr(motion, name)[:1].expand_as(getattr(motion, name)) for name in
             ("scale", "translation", "pitch", "yaw", "roll")}  # fmt: skip
    motion = dataclasses.replace(motion, **still)
    x = driver(config, motion=motion).keypoints(motion)
    return {i for i in range(21) if (x[1:, i] - x[0, i]).abs().max() > 1e-4}


CONFIGS = [
    DrivingConfig(),
    DrivingConfig(region="lip", multiplier=0.7),
    DrivingConfig(relative=True, stitching=True, normalize_lip=True),
    DrivingConfig(relative=True, relative_mode="pose-friendly", region="pose"),
    DrivingConfig(stitching=True).for_mode("animal"),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_slices_of_a_motion_equal_the_whole(config):
    motion = make_motion()
    sliced = driver(config, source_lip_ratio=0.4, **small_networks())
    whole = sliced.keypoints(motion)
    assert whole.shape == (7, 21, 3)
    for size in (1, 2, 3):
        parts = [sliced.keypoints(motion[i : i + size]) for i in range(0, 7, size)]
        torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("config", CONFIGS)
def test_autocast_does_not_affect_driving(config):
    motion, extra = make_motion(), {"source_lip_ratio": 0.4, **small_networks()}
    expected = driver(config, **extra).keypoints(motion)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(driver(config, **extra).keypoints(motion), expected)


def test_the_formula_of_an_absolute_motion():
    source, motion = make_source(), make_motion()
    x = driver(DrivingConfig(multiplier=1.0)).keypoints(motion)

    i = 4
    angles = (motion.pitch, motion.yaw, motion.roll)
    turn = head_rotation(*(angle[i : i + 1] for angle in angles))[0]
    turn = turn @ head_rotation(*(angle[:1] for angle in angles))[0].T @ source.rotation[0]
    expression = source.expression[0] + motion.expression[i] - motion.expression[0]
    expression[list(LIP_INDICES)] = motion.expression[i, list(LIP_INDICES)]
    translation = source.translation[0] + motion.translation[i] - motion.translation[0]
    translation[2] = 0
    scale = source.scale[0] * motion.scale[i] / motion.scale[0]
    torch.testing.assert_close(x[i], scale * (source.canonical[0] @ turn + expression) + translation)


def test_absolute_expressions_do_not_depend_on_the_first_frame_except_for_animals():
    """Check that a motion which starts with a blink does not open the eyes too far afterwards."""
    source, motion = make_source(), make_motion()
    config = DrivingConfig(multiplier=1.0)
    x = driver(config, absolute_expression=True).keypoints(motion)
    plain = driver(config).keypoints(motion)
    moved = (x - plain) / (source.scale * motion.scale / motion.scale[:1])[:, None]
    expected = (motion.expression[:1] - source.expression).expand(len(motion.scale), -1, -1).clone()
    expected[:, list(LIP_INDICES)] = 0
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-5)
    animal = DrivingConfig(multiplier=1.0).for_mode("animal")
    assert torch.equal(driver(animal, absolute_expression=True).keypoints(motion), driver(animal).keypoints(motion))


@pytest.mark.parametrize("option", ["expression-friendly", "pose-friendly"])
@pytest.mark.parametrize("region", ["lip", "eyes", "pose", "scale_and_translation"])
def test_a_relative_motion_starts_at_the_portrait(option, region):
    relative = driver(DrivingConfig(relative=True, relative_mode=option, region=region))
    torch.testing.assert_close(relative.keypoints(make_motion()[:1]), relative.source_keypoints)


def test_expression_friendly_starts_at_the_portrait_even_with_absolute_lips():
    relative = driver(DrivingConfig(relative=True))
    torch.testing.assert_close(relative.keypoints(make_motion()[:1]), relative.source_keypoints)


@pytest.mark.parametrize(
    ("region", "follow"),
    [
        ("all", set(range(21))),
        ("exp", set(range(21))),
        ("lip", set(LIP_INDICES)),
        ("eyes", set(EYE_INDICES)),
        ("pose", set()),
        ("scale_and_translation", set()),
    ],
)
def test_a_region_moves_its_keypoints_only(region, follow):
    assert changed_expression(DrivingConfig(region=region)) == follow


def test_index_sets_are_configurable():
    assert changed_expression(DrivingConfig(region="lip", lip_indices=[0, 1])) == {0, 1}
    assert changed_expression(DrivingConfig(region="eyes", eye_indices=(2,))) == {2}


@pytest.mark.parametrize("region", ["exp", "lip", "eyes", "scale_and_translation"])
def test_the_head_turns_in_the_regions_all_and_pose_only(region):
    motion = make_motion()
    turned = dataclasses.replace(motion, yaw=motion.yaw + torch.arange(7.0)[:, None])
    for name in (region, "all", "pose"):
        config = DrivingConfig(region=name)
        assert torch.equal(driver(config).keypoints(turned), driver(config).keypoints(motion)) == (name == region)


def test_the_scale_of_the_motion_can_be_ignored():
    motion = make_motion()
    larger = dataclasses.replace(motion, scale=motion.scale * torch.linspace(1, 2, 7)[:, None])
    for keep in (True, False):
        config = DrivingConfig(keep_scale=keep)
        assert torch.equal(driver(config).keypoints(larger), driver(config).keypoints(motion)) == keep


def test_the_multiplier_scales_the_motion_around_the_portrait():
    motion = make_motion()
    once = driver(DrivingConfig(multiplier=1.0)).keypoints(motion)
    source = transform_keypoints(make_source())
    torch.testing.assert_close(
        driver(DrivingConfig(multiplier=2.0)).keypoints(motion) - source, 2 * (once - source), rtol=0, atol=1e-6
    )
    torch.testing.assert_close(driver(DrivingConfig(multiplier=0.0)).keypoints(motion), source.expand(7, -1, -1))


@pytest.mark.parametrize(("ratio", "closes"), [(None, False), (0.029, False), (0.03, True), (0.4, True)])
def test_open_lips_are_closed_by_the_same_shift_in_every_frame(ratio, closes):
    motion, lip = make_motion(), small_networks()["lip"]
    plain = driver(DrivingConfig(relative=True, multiplier=1.0)).keypoints(motion)
    config = DrivingConfig(relative=True, multiplier=1.0, normalize_lip=True)
    shift = driver(config, lip=lip, source_lip_ratio=ratio).keypoints(motion) - plain
    torch.testing.assert_close(shift, shift[:1].expand_as(shift))
    assert (shift.abs().max() > 1e-3) == closes


@pytest.mark.parametrize("keypoints", [10, 30])
def test_other_numbers_of_keypoints_have_no_lips(keypoints):
    source, motion = make_source(keypoints), make_motion(keypoints=keypoints)
    config = DrivingConfig(relative=True, stitching=True, normalize_lip=True)
    x = driver(config, source, motion, source_lip_ratio=0.4, **small_networks(keypoints)).keypoints(motion)
    assert x.shape == (7, keypoints, 3)
    plain = driver(DrivingConfig(), source, motion).keypoints(motion)
    assert torch.equal(plain, driver(DrivingConfig(lip_indices=()), source, motion).keypoints(motion))
    with pytest.raises(ConfigError, match=f"region: found lip for a portrait of {keypoints} keypoints"):
        driver(DrivingConfig(region="lip"), source, motion)


def test_keypoints_of_portrait_and_motion_must_agree():
    with pytest.raises(InputError, match="keypoints_mismatch: motion: found 10 keypoints; expected the portrait's 21"):
        driver(DrivingConfig(), motion=make_motion(keypoints=10))


@pytest.mark.parametrize(
    ("config", "network"),
    [(DrivingConfig(stitching=True), "stitching"), (DrivingConfig(relative=True, normalize_lip=True), "lip")],
)
def test_options_that_require_a_missing_network_are_rejected(config, network):
    with pytest.raises(ConfigError, match=f"network_missing: .*no network {network}"):
        driver(config)


@pytest.mark.parametrize(
    "options",
    [
        {"region": "nose"},
        {"relative_mode": "friendly"},
        {"multiplier": -1.0},
        {"multiplier": math.nan},
        {"normalize_lip": True},
    ],
)
def test_options_out_of_range_or_without_effect_are_rejected(options):
    (name,) = options
    with pytest.raises(ConfigError, match=f"bad_driving_option: driving option {name}: found .*; expected "):
        DrivingConfig(**options)


def test_indices_out_of_range_are_rejected():
    with pytest.raises(ConfigError, match=r"lip_indices: found \(21,\); expected numbers from 0 to 20"):
        driver(DrivingConfig(lip_indices=(21,)))


def test_keypoints_that_are_not_finite_are_rejected():
    source = dataclasses.replace(make_source(), scale=torch.tensor([[math.nan]]))
    with pytest.raises(ModelError, match="keypoints_not_finite"):
        driver(DrivingConfig(relative=True), source)


def test_absolute_motion_does_not_depend_on_its_first_frame():
    motion, source = make_motion(), make_source()
    config = DrivingConfig(absolute=True, multiplier=1.0)
    driven = driver(config, source, motion).keypoints(motion[2:])
    assert driven.equal(driver(config, source, motion[3:]).keypoints(motion[2:]))
    pose = {"pitch": motion.pitch[4:5], "yaw": motion.yaw[4:5], "roll": motion.roll[4:5]}
    expected = dataclasses.replace(
        source, expression=motion.expression[4:5], translation=motion.translation[4:5], **pose
    )
    torch.testing.assert_close(driven[2:3], transform_keypoints(expected))


def test_motion_is_not_relative_and_absolute_at_once():
    with pytest.raises(ConfigError, match="driving option absolute: found true with relative: true"):
        DrivingConfig(absolute=True, relative=True)
    assert not DrivingConfig(absolute=True).for_mode("animal").absolute


def repeat(info, n_frames):
    fields = {
        field.name: getattr(info, field.name).repeat_interleave(n_frames, 0) for field in dataclasses.fields(info)
    }
    return KeypointInfo(**fields)


def test_a_source_video_keeps_its_motion_and_gets_the_lips_of_the_motion():
    motion, frames = make_motion(), repeat(make_source(), 7)
    frames = dataclasses.replace(frames, yaw=torch.linspace(-20, 20, 7)[:, None])
    config = DrivingConfig(region="lip", multiplier=1.0)
    driven = PortraitDriver(config, source=frames, first_frame=motion[:1], source_moves=True).keypoints(motion)
    lips = torch.zeros(21, 1, dtype=torch.bool)
    lips[list(LIP_INDICES)] = True
    expected = dataclasses.replace(frames, expression=torch.where(lips, motion.expression, frames.expression))
    torch.testing.assert_close(driven, transform_keypoints(expected))


def test_a_source_video_adds_the_motion_of_the_head_in_the_region_all():
    motion, source = make_motion(), make_source()
    config = DrivingConfig(multiplier=1.0)
    still = driver(config, source, motion).keypoints(motion)
    video = PortraitDriver(config, source=repeat(source, 7), first_frame=motion[:1], source_moves=True)
    torch.testing.assert_close(video.keypoints(motion), still)


@pytest.mark.parametrize("absolute_expression", [False, True])
@pytest.mark.parametrize("options", [{}, {"absolute": True}, {"relative": True}], ids=["plain", "absolute", "relative"])
@pytest.mark.parametrize("region", ["all", "exp", "pose", "lip", "eyes", "scale_and_translation"])
def test_driven_parts_move_with_the_motion_and_not_with_a_source_video(region, options, absolute_expression):
    motion, source = make_motion(), repeat(make_source(), 7)
    config = DrivingConfig(region=region, multiplier=1.0, **options)

    def drive(motion, source, *, source_moves=True):
        fields = {"source_moves": source_moves, "absolute_expression": absolute_expression}
        return driver(config, source if source_moves else make_source(), motion, **fields).keypoints(motion)

    def move(face, part):
        if part == "head":
            return dataclasses.replace(face, yaw=face.yaw + torch.arange(7.0)[:, None])
        expression = face.expression.clone()
        expression[1:, list(keypoints[part])] += 0.1
        return dataclasses.replace(face, expression=expression)

    def changes(before, after, part):
        return bool((after - before)[:, list(keypoints[part])].abs().max() > 1e-4)

    keypoints = {"head": range(21), "lips": LIP_INDICES, "eyes": EYE_INDICES}
    for source_moves in (False, True):
        before = drive(motion, source, source_moves=source_moves)
        expected = [
            part
            for part in keypoints
            if changes(before, drive(move(motion, part), source, source_moves=source_moves), part)
            and not (source_moves and changes(before, drive(motion, move(source, part)), part))
        ]
        parts = find_driven_parts(config, source_moves=source_moves, absolute_expression=absolute_expression)
        assert [*parts] == expected


def test_frames_of_a_relative_source_video_do_not_depend_on_their_batch():
    motion, frames = make_motion(), repeat(make_source(), 7)
    frames = dataclasses.replace(
        frames, expression=frames.expression * torch.linspace(-2, 2, 7)[:, None, None], yaw=torch.arange(7.0)[:, None]
    )
    config = DrivingConfig(region="exp", relative=True)

    def drive(batch):
        video = PortraitDriver(config, source=frames[batch], first_frame=motion[:1], source_moves=True)
        return video.keypoints(motion[batch])

    whole = drive(slice(0, 7))
    torch.testing.assert_close(torch.cat([drive(slice(0, 3)), drive(slice(3, 7))]), whole)
