import dataclasses

import numpy as np
import pytest
import torch

from joyvasa.errors import ConfigError, InputError
from joyvasa.motion.controller import MotionController, find_unsupported
from joyvasa.motion.controls import (
    BlinkControls,
    ExpressionControls,
    EyeControls,
    GazeControls,
    MouthControls,
    PoseControls,
)
from joyvasa.motion.driving import DrivingConfig, PortraitDriver
from joyvasa.motion.keypoints import KeypointInfo
from joyvasa.motion.layouts import load_layout
from joyvasa.motion.openings import COMPACT, LIVEPORTRAIT, estimate_eye_opening, estimate_mouth_opening, find_closings
from joyvasa.motion.sequence import MotionSequence, MotionTemplate
from joyvasa.options import AnimationConfig
from tests.motions import random_motion

FITS = {"compact": COMPACT, "liveportrait": LIVEPORTRAIT}


def make_motion(n_frames=250, blinks=(40, 120, 130, 200)):
    """Return a motion of the compact layout that talks, nods and blinks."""
    draw, times = torch.Generator().manual_seed(3), torch.arange(n_frames)[:, None]
    expression = torch.zeros(n_frames, 21, 3)
    jaw = 0.1 * torch.rand(n_frames, generator=draw)
    for keypoint, share in ((1, 1.0), (14, 1.0), (19, 1.0), (6, 0.35), (12, 0.35)):
        expression[:, keypoint, 1] = share * jaw
    for at in blinks:
        closure = (1.2 - (torch.arange(n_frames) - at).abs() / 4).clamp(0, 1)
        expression[:, [11, 15], 1] = torch.maximum(expression[:, [11, 15], 1], 0.286 * closure[:, None])
    angle = 6 * torch.sin(times / 20)
    return MotionSequence(
        expression=expression,
        scale=torch.full((n_frames, 1), 0.37),
        translation=0.01 * torch.cos(times / 30).expand(-1, 3),
        pitch=angle,
        yaw=-angle,
        roll=0.3 * angle,
    )


def make_controller(layout="compact", *, animal=False, lips_by_network=False, **controls):
    mean = 0.02 * torch.ones(63, dtype=torch.float64)
    pose = torch.zeros(7, dtype=torch.float64)
    template = MotionTemplate(expression_mean=mean, expression_std=mean, pose_min=pose, pose_max=pose + 1)
    found = layout and load_layout(layout)
    options = AnimationConfig(**controls)
    return MotionController(options, found, template, animal=animal, lips_by_network=lips_by_network)


def count_blinks(motion):
    opening = estimate_eye_opening(motion, COMPACT)
    return len(find_closings(opening < 0.5 * np.median(opening))[0])


def test_neutral_controls_return_the_motion_itself():
    motion, controller = make_motion(), make_controller()
    assert controller.shape(motion, 0) is motion
    assert controller.displace(motion).expression is motion.expression


def test_pose_amount_scales_the_motion_of_the_head_about_its_first_frame():
    motion = make_motion()
    still = make_controller(pose=PoseControls(amount=0)).shape(motion, 0)
    double = make_controller(pose=PoseControls(amount=2)).shape(motion, 0)
    for name in ("pitch", "yaw", "roll", "translation", "scale"):
        values = getattr(motion, name)
        assert torch.equal(getattr(still, name), values[:1].expand_as(values))
        assert torch.allclose(getattr(double, name), 2 * values - values[:1])
    assert torch.equal(still.expression, motion.expression)


@pytest.mark.parametrize("layout", ["compact", "liveportrait"])
def test_mouth_amount_of_0_closes_the_mouth_and_leaves_the_eyes(layout):
    motion = make_motion()
    closed = make_controller(layout, mouth=MouthControls(amount=0)).shape(motion, 0)
    assert np.abs(estimate_mouth_opening(closed, FITS[layout])).max() < 1e-6
    assert torch.equal(closed.expression[:, [11, 13, 15, 16]], motion.expression[:, [11, 13, 15, 16]])


def test_expression_amount_scales_mouth_and_blinks_of_a_compact_face():
    motion = make_motion()
    half = make_controller(expression=ExpressionControls(amount=0.5)).shape(motion, 0)
    assert torch.allclose(half.expression, 0.5 * motion.expression)


@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.6])
@pytest.mark.parametrize("layout", ["compact", "liveportrait"])
def test_mouth_open_adds_an_opening_of_this_ratio(layout, ratio):
    motion = make_motion()
    opened = make_controller(layout, mouth=MouthControls(open=ratio)).displace(motion)
    added = estimate_mouth_opening(opened, FITS[layout]) - estimate_mouth_opening(motion, FITS[layout])
    assert np.allclose(added, ratio, atol=0.002)


# Eyes of the built-in model open further than at rest, 0.48, only if the lids move further than asked for.
@pytest.mark.parametrize(("ratio", "driven"), [(0.2, 0.2), (0.4, 0.4), (0.6, 0.92), (0.8, 0.92)])
def test_eyes_open_sets_the_opening_at_rest_and_blinks_still_close(ratio, driven):
    motion = make_motion()
    opening = estimate_eye_opening(make_controller(eyes=EyeControls(open=ratio)).displace(motion), COMPACT)
    assert np.median(opening) == pytest.approx(driven, abs=0.005)
    assert opening.min() == pytest.approx(estimate_eye_opening(motion, COMPACT).min(), abs=0.01)


@pytest.mark.parametrize("layout", ["compact", "liveportrait"])
def test_a_wink_closes_one_eye_of_the_person(layout):
    open_eyes = make_motion(blinks=())
    for value, closed, still in ((1.0, 0, 1), (-1.0, 1, 0)):
        moved = make_controller(layout, wink=value).displace(open_eyes)
        change = load_layout(layout).eye_openings(moved.expression - open_eyes.expression)
        rest = load_layout(layout).eye_openings(torch.zeros(1, 21, 3))
        assert (change[:, closed] - rest[0, closed] < -0.45).all()
        assert torch.allclose(change[:, still], rest[0, still])


@pytest.mark.parametrize(("rate", "expected"), [(0, 0), (6, 1), (12, 2), (24, 4), (30, 5), (60, 10)])
def test_blink_rate_sets_the_number_of_blinks(rate, expected):
    motion = make_motion()  # ten seconds with four blinks
    changed = make_controller(blink=BlinkControls(rate=rate)).shape(motion, 5)
    assert count_blinks(motion) == 4
    assert count_blinks(changed) == expected
    others = [n for n in range(21) if n not in (11, 13, 15, 16)]
    assert torch.equal(changed.expression[:, others], motion.expression[:, others])


def test_a_blink_rate_of_0_leaves_no_trace_of_a_blink():
    opening = estimate_eye_opening(make_controller(blink=BlinkControls(rate=0)).shape(make_motion(), 0), COMPACT)
    assert opening.min() > 0.95 * np.median(opening)


def test_added_blinks_depend_on_the_seed_alone():
    motion, controller = make_motion(), make_controller(blink=BlinkControls(rate=40))
    first = controller.shape(motion, 1).expression
    assert torch.equal(first, controller.shape(motion, 1).expression)
    assert not torch.equal(first, controller.shape(motion, 2).expression)


def test_short_clips_blink_at_the_rate_on_average():
    motion = make_motion(50, blinks=())  # two seconds
    controller = make_controller(blink=BlinkControls(rate=15))
    counts = [count_blinks(controller.shape(motion, seed)) for seed in range(100)]
    assert np.mean(counts) == pytest.approx(0.5, abs=0.12)


def test_a_blink_amount_of_0_keeps_the_eyes_open():
    opening = estimate_eye_opening(make_controller(blink=BlinkControls(amount=0)).shape(make_motion(), 0), COMPACT)
    assert np.ptp(opening) < 1e-6


@pytest.mark.parametrize(("amount", "least"), [(0.5, 0.5), (0.25, 0.75)])
def test_a_blink_of_half_the_depth_closes_the_eyes_by_half(amount, least):
    opening = estimate_eye_opening(make_controller(blink=BlinkControls(amount=amount)).shape(make_motion(), 0), COMPACT)
    assert opening.min() / np.median(opening) == pytest.approx(least, abs=0.03)


def test_blinks_of_full_depth_stay_as_they_are_and_deeper_ones_close_further():
    motion = make_motion()
    before = estimate_eye_opening(motion, COMPACT)
    barely, deeper = (
        estimate_eye_opening(make_controller(blink=BlinkControls(amount=amount)).shape(motion, 0), COMPACT)
        for amount in (0.999, 1.2)
    )
    assert np.allclose(barely, before, atol=0.01)
    assert deeper.min() == pytest.approx(0.481 + 1.2 * (before.min() - 0.481), abs=0.01)


def make_mouth(opening):
    """Return a portrait of the compact layout whose lips are apart by an opening, height over width."""
    source = make_source()
    source.expression[:] = opening * load_layout("compact").opening.offset(1.0)
    return source


@pytest.mark.parametrize(
    ("controls", "opening", "closing"),
    [
        ({"mouth": MouthControls(amount=0)}, 0.1, 0.1),
        ({"mouth": MouthControls(amount=0)}, 0.3, 0.145),
        ({"mouth": MouthControls(amount=0)}, 0.0, 0.0),
        ({"mouth": MouthControls(amount=0.5)}, 0.1, 0.05),
        ({"expression": ExpressionControls(amount=0)}, 0.1, 0.1),
        ({"mouth": MouthControls(open=0)}, 0.1, 0.1),
        ({"mouth": MouthControls(amount=0, open=0.2)}, 0.1, -0.2),
        ({"mouth": MouthControls(amount=1.5)}, 0.1, 0.0),
        ({}, 0.1, 0.0),
    ],
)
def test_lips_that_are_apart_in_the_portrait_are_driven_past_each_other_to_close(controls, opening, closing):
    motion = make_motion(3, blinks=())
    motion.expression[:] = 0
    closed = make_controller(**controls).displace(motion, make_mouth(opening))
    assert np.allclose(estimate_mouth_opening(closed, COMPACT), -closing, atol=1e-3)


def test_speech_opens_a_mouth_that_mouth_open_closes_at_rest():
    motion = make_motion()
    motion.expression[:] = torch.linspace(0, 0.3, 250)[:, None, None] * load_layout("compact").opening.offset(1.0)
    opening = estimate_mouth_opening(
        make_controller(mouth=MouthControls(open=0)).displace(motion, make_mouth(0.1)), COMPACT
    )
    assert opening[0] == pytest.approx(-0.1, abs=1e-3)
    assert opening[-1] == pytest.approx(0.3, abs=1e-3)
    assert (np.diff(opening) > 0).all()


def make_muzzle(opening):
    """Return an animal of the compact layout, which has no expression, with an open mouth."""
    source = make_source()
    source.canonical[:, 20] = source.canonical[:, 19] - torch.tensor([0.1, 0.69 * opening, 0.0])
    source.expression[:] = 0
    return source


@pytest.mark.parametrize(("driven", "closing"), [(-0.1, 0.46), (0.0, 0.46), (0.1, 0.345), (0.4, 0.0), (0.6, 0.0)])
@pytest.mark.parametrize("controls", [{}, {"mouth": MouthControls(open=0)}])
def test_the_open_mouth_of_an_animal_closes_in_silence_and_speech_opens_it_as_far(driven, closing, controls):
    motion = make_motion(3, blinks=())
    motion.expression[:] = driven * load_layout("compact").opening.offset(1.0)
    closed = make_controller(animal=True, **controls).displace(motion, make_muzzle(0.4))
    assert np.allclose(driven - estimate_mouth_opening(closed, COMPACT), closing, atol=1e-3)


def test_the_closed_mouth_of_an_animal_and_one_of_the_published_networks_stay():
    motion = make_motion(3, blinks=())
    for layout, opening in (("compact", -0.05), ("liveportrait", 0.4)):
        displaced = make_controller(layout, animal=True).displace(motion, make_muzzle(opening))
        assert displaced.expression is motion.expression


def test_closed_eyes_are_not_changed():
    motion = make_motion(blinks=())
    motion.expression[:, [11, 15], 1] = 0.286
    assert make_controller(blink=BlinkControls(rate=30)).shape(motion, 0) is motion


# Offsets of LivePortrait's page at the ends of its sliders: keypoint, axis, value.
@pytest.mark.parametrize(
    ("controls", "offsets"),
    [
        ({"gaze": GazeControls(x=1)}, {(11, 0): 0.021, (15, 0): 0.03}),
        ({"gaze": GazeControls(x=-0.5)}, {(11, 0): -0.015, (15, 0): -0.0105}),
        ({"gaze": GazeControls(y=1)}, {(11, 1): -0.0315, (15, 1): -0.0315, (13, 1): -0.00945, (16, 1): -0.00945}),
        (
            {"smile": 1.3},
            {(20, 1): -0.013, (14, 1): -0.026, (17, 1): 0.00845, (17, 2): 0.0039, (13, 1): -0.003575,
             (16, 1): -0.003575, (3, 1): -0.00455, (7, 1): -0.00455},
        ),
        ({"brow": 1}, {(1, 1): 0.03, (2, 1): -0.03}),
        ({"brow": -1}, {(1, 0): 0.03, (2, 0): -0.03, (1, 1): -0.009, (2, 1): 0.009}),
        ({"wink": 1}, {(11, 1): 0.039, (13, 1): -0.0117, (17, 0): 0.0117, (17, 1): 0.0117, (3, 1): -0.0117}),
    ],
)  # fmt: skip
def test_the_published_keypoints_move_as_on_the_page_of_liveportrait(controls, offsets):
    motion = make_motion(3)
    moved = make_controller("liveportrait", lips_by_network=True, **controls).displace(motion)
    expected = torch.zeros(21, 3)
    for place, value in offsets.items():
        expected[place] = value
    assert torch.allclose(moved.expression - motion.expression, expected.expand(3, -1, -1), atol=1e-6)


@pytest.mark.parametrize(
    ("layout", "animal", "controls", "refused"),
    [
        ("compact", False, {"gaze": GazeControls(x=0.1)}, "gaze.x"),
        ("compact", False, {"smile": 0.5, "brow": 1, "wink": -1, "eyes": EyeControls(open=0.3)}, None),
        ("liveportrait", False, {"gaze": GazeControls(y=0.1), "smile": 0.5}, None),
        ("liveportrait", True, {"blink": BlinkControls(rate=0)}, "blink.rate"),
        ("compact", True, {"smile": 0.1}, "smile"),
        ("compact", True, {"pose": PoseControls(yaw=5), "mouth": MouthControls(amount=0.5, open=0.2)}, None),
        (None, False, {"mouth": MouthControls(open=0.0)}, "mouth.open"),
        (None, False, {"pose": PoseControls(yaw=5, amount=0), "expression": ExpressionControls(amount=0)}, None),
    ],
)
def test_controls_that_the_keypoints_cannot_do_are_found(layout, animal, controls, refused):
    found = find_unsupported(AnimationConfig(**controls), layout and load_layout(layout), animal=animal)
    assert (found and found[0]) == refused


@pytest.mark.parametrize(
    ("kind", "name", "value", "sentence"),
    [
        (PoseControls, "yaw", 31, r"pose.yaw is 31; expected -30 to 30 degrees"),
        (MouthControls, "open", -0.1, r"mouth.open is -0.1; expected 0 to 0.8 height / width"),
        (BlinkControls, "rate", 61, r"blink.rate is 61; expected 0 to 60 per minute"),
        (AnimationConfig, "smile", 2, r"smile is 2; expected -0.3 to 1.3 of a broad smile"),
    ],
)
def test_values_out_of_range_are_refused(kind, name, value, sentence):
    with pytest.raises(ConfigError, match=sentence):
        kind(**{name: value})


def make_source(yaw=0.0):
    draw, zero = torch.Generator().manual_seed(1), torch.zeros(1, 1)
    return KeypointInfo(
        pitch=zero,
        yaw=zero + yaw,
        roll=zero,
        translation=torch.zeros(1, 3),
        expression=torch.zeros(1, 21, 3),
        scale=zero + 1,
        canonical=torch.randn(1, 21, 3, generator=draw),
    )


def drive(motion, *, region="all", multiplier=1.0, source=None, **controls):
    controller = make_controller("liveportrait", lips_by_network=True, **controls)
    driver = PortraitDriver(
        DrivingConfig(region=region, multiplier=multiplier),
        source=source or make_source(),
        first_frame=motion[:1],
        controller=controller,
    )
    return driver.source_keypoints, driver.keypoints(motion)


@pytest.mark.parametrize(("region", "closes"), [("all", True), ("exp", True), ("lip", True), ("pose", False)])
def test_the_mouth_of_an_animal_closes_where_lips_follow_the_motion(region, closes):
    motion = make_motion(2, blinks=())
    motion.expression[:] = 0
    config = DrivingConfig(region=region, multiplier=1.5).for_mode("animal")
    source, controller = make_muzzle(0.4), make_controller(animal=True)
    driver = PortraitDriver(config, source=source, first_frame=motion[:1], controller=controller)
    moved = driver.keypoints(motion[:1])[0, 19, 1] - driver.source_keypoints[0, 19, 1]
    assert moved == pytest.approx(-1.15 * 0.69 * 0.4 if closes else 0.0, abs=0.01)


@pytest.mark.parametrize(("animal", "turn"), [(True, 8.0), (False, 10.0)])
def test_heads_of_animals_turn_by_the_angle_itself_and_those_of_people_need_more(animal, turn):
    motion = make_motion(2, blinks=())
    turned = make_controller(animal=animal, pose=PoseControls(yaw=8)).displace(motion)
    assert torch.allclose(turned.yaw - motion.yaw, torch.full((2, 1), turn), atol=1e-4)


@pytest.mark.parametrize("region", ["all", "exp", "pose", "lip", "eyes", "scale_and_translation"])
def test_an_offset_of_the_head_turns_the_portrait_in_every_region_and_is_not_multiplied(region):
    motion, zero = make_motion(4, blinks=()), torch.zeros(4, 1)
    still = {name: getattr(motion, name)[:1].expand_as(getattr(motion, name)) for name in ("translation", "expression")}
    still = dataclasses.replace(motion, pitch=zero, yaw=zero, roll=zero, **still)
    _, plain = drive(still, region=region, multiplier=1.3)
    _, turned = drive(still, region=region, multiplier=1.3, pose=PoseControls(yaw=12))
    expected = make_source(12.0)
    shift = expected.canonical @ expected.rotation - make_source().canonical
    assert torch.allclose(turned - plain, shift.expand(4, -1, -1), atol=1e-5)


@pytest.mark.parametrize("region", ["all", "pose", "scale_and_translation"])
def test_an_offset_of_the_expression_applies_in_every_region(region):
    motion = make_motion(4)
    _, plain = drive(motion, region=region, multiplier=1.3)
    _, smiling = drive(motion, region=region, multiplier=1.3, smile=1.0)
    assert torch.allclose(
        (smiling - plain)[:, 20], torch.tensor([0.0, -0.01, 0.0]) * motion.scale / motion.scale[0], atol=1e-5
    )


@pytest.mark.parametrize(
    "controls",
    [
        {"expression": ExpressionControls(amount=0.5)},
        {"mouth": MouthControls(amount=0.5)},
        {"blink": BlinkControls(rate=20.0)},
    ],
)
def test_a_motion_of_other_keypoints_is_refused_before_controls_change_it(controls):
    for keypoints in (1, 9):
        with pytest.raises(InputError, match=f"keypoints_mismatch: .* found {keypoints} keypoints; expected .* 21"):
            make_controller(**controls).shape(random_motion(keypoints=keypoints), seed=0)
