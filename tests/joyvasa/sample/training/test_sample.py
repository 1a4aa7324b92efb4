import cv2
import numpy as np
import pytest

from joyvasa.sample.networks.points import INNER_LOWER_LIP, INNER_UPPER_LIP, RIGHT_LOWER_LID, RIGHT_UPPER_LID
from joyvasa.sample.networks.teeth import UPPER_SHOWN
from joyvasa.sample.training.head import Expression, Head, mean_head
from joyvasa.sample.training.head_motion import draw_head_motion
from joyvasa.sample.training.lashes import draw_lashes
from joyvasa.sample.training.mesh_points import load_mesh_points
from joyvasa.sample.training.pairs import PairSampler, TrainingPair, mirror_pair, rotation_matrix, to_keypoint_units
from joyvasa.sample.training.scene_rendering import render_scene
from joyvasa.sample.training.training_media import SIZE, TrainingPortrait, is_held_out
from joyvasa.sample.training.visemes import TimedViseme, mouth_curves

RATE = 16_000


@pytest.fixture
def head(mesh, mean):
    """Head whose face is in the center of a crop."""
    return Head(mesh, mean, SIZE)


def person_mask():
    """Mask of a head and shoulders."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    cv2.ellipse(mask, (128, 140), (62, 85), 0, 0, 360, 255, -1)
    cv2.rectangle(mask, (40, 225), (216, SIZE), 255, -1)
    return mask


def gap(points):
    return points[INNER_LOWER_LIP, 1] - points[INNER_UPPER_LIP, 1]


def keypoints(head, expression):
    return head.keypoints(head.apply_expression(expression), expression.blink, head.pose)


@pytest.mark.parametrize("jaw", [0.0, 0.1, 0.3])
def test_the_jaw_opens_the_lips_by_its_value(head, jaw):
    assert gap(keypoints(head, Expression(jaw=jaw))) / head.pose.scale == pytest.approx(jaw, abs=0.01)


@pytest.mark.parametrize("wider", [0.0, 0.1])
def test_shut_lids_meet_for_eyes_of_any_size(head, wider):
    head.face[[159, 145], 1] += [-wider, wider]  # eyes of a cartoon
    shut, open_ = keypoints(head, Expression(blink=(1, 1))), keypoints(head, Expression())
    assert shut[RIGHT_UPPER_LID] == pytest.approx(shut[RIGHT_LOWER_LID])
    assert open_[RIGHT_LOWER_LID, 1] - open_[RIGHT_UPPER_LID, 1] > 5


def test_lids_that_are_driven_further_look_shut(head):
    shut, further = (head.apply_expression(Expression(blink=(blink, blink))) for blink in (1.0, 1.5))
    assert np.array_equal(shut, further)
    points = keypoints(head, Expression(blink=(1.5, 1.5)))
    assert points[RIGHT_UPPER_LID, 1] > points[RIGHT_LOWER_LID, 1] + 3


def test_a_brow_stays_when_lids_shut(head):
    brow = head.apply_expression(Expression(blink=(1, 1)))[load_mesh_points().right_brow]
    assert brow == pytest.approx(head.face[load_mesh_points().right_brow], abs=0.01)


def test_lashes_are_a_dark_line_on_shut_eyes_only(head):
    picture = np.full((SIZE, SIZE, 3), 200, np.uint8)
    upper = load_mesh_points().eyes[0][0]
    rim = head.pose.to_image(head.face[upper])[:, :2].round().astype(int)
    for x, y in rim:
        cv2.circle(picture, (int(x), int(y)), 3, (40, 30, 20), -1)
    still = picture.astype(np.float32)
    for blink in (0.0, 0.55, 1.0):
        expression = Expression(blink=(blink, 0.0))
        drawn = draw_lashes(still, picture, head, head.apply_expression(expression), expression, head.pose)
        changed = (drawn != still).any(-1)
        assert changed.any() == (blink == 1.0)
    middle = head.pose.to_image(head.apply_expression(expression)[[upper[4]]])[0, :2].round().astype(int)
    assert drawn[middle[1], middle[0]].mean() < 90
    assert 15 < changed.sum() < 200, "a line"


def test_a_head_at_rest_renders_its_own_picture(head):
    picture = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8).repeat(32, 0).repeat(32, 1)
    scene = render_scene(picture, head, Expression(jaw=head.gap), head.pose, person=person_mask())
    assert np.abs(scene.picture - picture).mean() < 2
    assert scene.painted.max() == 0
    y, x = np.mgrid[:SIZE, :SIZE]
    assert np.abs(scene.origin - np.stack([x, y], -1)).max() < 1


def test_an_open_mouth_is_painted_inside(head):
    picture = np.full((SIZE, SIZE, 3), 180, np.uint8)
    scene = render_scene(picture, head, Expression(jaw=0.3), head.turn(rotation_matrix(5, 12, 0)), person=person_mask())
    center = scene.keypoints[[INNER_UPPER_LIP, INNER_LOWER_LIP], :2].mean(0).round().astype(int)
    assert scene.painted[center[1], center[0]] > 0.9
    assert 0.001 < scene.painted.mean() < 0.05


def test_teeth_are_light_and_hang_below_the_upper_lip(head):
    picture = np.full((SIZE, SIZE, 3), 150, np.uint8)
    scene = render_scene(picture, head, Expression(jaw=0.35), head.pose, person=person_mask())
    lips = scene.keypoints[[INNER_UPPER_LIP, INNER_LOWER_LIP], 1]
    tooth = int(scene.keypoints[INNER_UPPER_LIP, 0]) + 4  # next to the line in the middle
    column = scene.picture[:, tooth - 1 : tooth + 2].mean((1, 2))
    middle = int(lips.mean())
    light = np.flatnonzero(column[int(lips[0]) + 1 : middle] > 120) + int(lips[0]) + 1
    assert light[-1] - lips[0] == pytest.approx(UPPER_SHOWN * head.pose.scale, abs=1.5)
    assert column[middle] < 60  # a dark cavity below them


def test_lamps_light_the_background_and_not_the_person(mean):
    crop, mask = np.full((SIZE, SIZE, 3), 60, np.uint8), person_mask()
    lit = PairSampler([], [], mean, seed=0)._add_lamps(crop, mask).astype(int) - crop
    behind, inside = (cv2.erode(side, np.ones((15, 15))) > 0 for side in (255 - mask, mask))
    assert lit[behind].max() > 30
    assert lit[inside].max() <= 1


def test_the_background_is_static_and_is_uncovered_by_a_turning_head(head):
    wall = np.random.default_rng(4).integers(0, 255, (SIZE, SIZE), np.uint8)
    picture = np.where(person_mask()[..., None] > 0, 180, wall[..., None]).astype(np.uint8).repeat(3, -1)
    scene = render_scene(picture, head, Expression(), head.turn(rotation_matrix(0, 12, 0)), person=person_mask())
    y, x = np.mgrid[:SIZE, :SIZE]
    away = cv2.dilate(person_mask(), np.ones((31, 31))) == 0
    assert np.abs(scene.origin - np.stack([x, y], -1))[away].max() < 0.01
    assert np.abs(scene.picture - picture)[away].max() < 1
    uncovered = np.isnan(scene.origin[..., 0])
    assert not uncovered[cv2.dilate(person_mask(), np.ones((7, 7))) == 0].any()
    assert uncovered.sum() > 200
    gray = scene.picture[uncovered].mean()  # filled like the adjacent wall, not like the skin
    assert abs(gray - 127) < 30


def test_the_mean_of_turned_heads_is_the_head(mean):
    turned = [40 * mean @ rotation_matrix(*angles) + 100 for angles in ((0, 0, 0), (10, -15, 5), (-8, 12, 3))]
    assert np.abs(mean_head(turned) - mean).max() < 0.02


def test_the_background_is_replaced_by_another_portrait(mean):
    other = TrainingPortrait("other", np.full((300, 400, 3), 200, np.uint8), mean, np.zeros((300, 400), np.uint8))
    crop = np.random.default_rng(4).integers(0, 100, (SIZE, SIZE, 3)).astype(np.uint8)
    mask = person_mask()
    changed = PairSampler([other], [], mean, seed=0)._replace_background(crop, mask)
    inside = cv2.erode(mask, np.ones((9, 9))) > 0
    outside = cv2.dilate(mask, np.ones((9, 9))) == 0
    assert np.array_equal(changed[inside], crop[inside])
    assert (changed[outside] == 200).all()


def test_mirroring_twice_is_the_identity(head):
    points = to_keypoint_units(keypoints(head, Expression(jaw=0.1, blink=(1, 0))))
    picture = np.random.default_rng(1).random((SIZE, SIZE, 3)).astype(np.float32)
    pair = TrainingPair(picture, picture, points, points, picture[..., :2], picture[..., 0])
    once, twice = mirror_pair(pair), mirror_pair(mirror_pair(pair))
    assert np.allclose(twice.target_points, points)
    assert np.array_equal(twice.source, pair.source)
    assert not np.allclose(once.target_points[RIGHT_UPPER_LID], points[RIGHT_UPPER_LID] * [-1, 1, 1])


def test_lips_close_for_a_bilabial_and_open_wide_for_an_a():
    loud = np.random.default_rng(2).normal(0, 0.1, RATE)
    sounds = [
        TimedViseme("a", 0.0, 0.4),
        TimedViseme("bilabial", 0.4, 0.5),
        TimedViseme("a", 0.5, 0.9),
        TimedViseme("silence", 0.9, 1.0),
    ]
    jaw = mouth_curves(loud, sounds)[:, 0]
    assert len(jaw) == 25
    assert jaw[11] < 0.01  # 0.44 to 0.48 s
    assert min(jaw[5], jaw[17]) > 0.15


def test_lids_shut_now_and_then(mean):
    motion = draw_head_motion(np.full(2500, 0.5), np.random.default_rng(3))
    blinks = np.diff((motion.blink > 0.95).astype(int)) == 1
    assert 100 / 6 <= blinks.sum() <= 100 / 1.5  # in 100 seconds
    assert 0.5 < motion.pose.std(0).min() < motion.pose.std(0).max() < 8


def test_held_out_files_depend_on_their_names_only():
    names = [f"picture_{number}.jpg" for number in range(600)]
    assert 60 < sum(map(is_held_out, names)) < 140
    assert is_held_out("sadtalker_art_15.jpg")
    assert not is_held_out("sadtalker_art_0.jpg")
