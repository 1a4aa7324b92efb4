"""Driven keypoints equal the reference."""

import pytest
import torch

from joyvasa.motion.driving import DrivingConfig, PortraitDriver
from joyvasa.motion.keypoints import KeypointInfo, stitch_keypoints
from joyvasa.networks import build
from tests.golden.reference import Section, fill, read_motion


@pytest.fixture(scope="module")
def section():
    return Section("drive")


@pytest.fixture(scope="module")
def networks():
    return {name: fill(build(name), name) for name in ("stitching", "lip")}


@pytest.fixture(scope="module")
def source(section):
    names = {"canonical": "kp", "expression": "exp", "translation": "t"}
    names |= {name: name for name in ("pitch", "yaw", "roll", "scale")}
    return KeypointInfo(**{field: section.input(name) for field, name in names.items()})


@pytest.fixture(scope="module")
def motion(section):
    return read_motion(section)


@pytest.fixture(scope="module")
def lip_ratio(section):
    """Return height / width of the mouth opening, from points 90, 102 and 48, 66 of the 203 landmarks."""
    points = section.input("source_lmk203")
    upper, lower, left, right = (points[i] for i in (90, 102, 48, 66))
    return float((upper - lower).norm() / ((left - right).norm() + 1e-6))


CASES = {
    "human_cli_default": DrivingConfig(),
    "human_stitch": DrivingConfig(stitching=True),
    "human_relative": DrivingConfig(relative=True),
    "human_relative_stitch_lip": DrivingConfig(relative=True, stitching=True, normalize_lip=True),
    "human_relative_lip": DrivingConfig(relative=True, normalize_lip=True),
    "human_relative_pose": DrivingConfig(relative=True, relative_mode="pose-friendly", stitching=True, multiplier=1.0),
    "human_region_exp": DrivingConfig(region="exp"),
    "human_region_pose": DrivingConfig(region="pose"),
    "human_region_lip": DrivingConfig(region="lip"),
    # The reference accepts the region `eyes` but does not move the eyes.
    "human_region_eyes": DrivingConfig(region="scale_and_translation"),
    "animal_cli_default": DrivingConfig().for_mode("animal"),
    "animal_stitch": DrivingConfig(stitching=True).for_mode("animal"),
    # Animals are always relative; the reference's flag has no effect.
    "animal_relative": DrivingConfig().for_mode("animal"),
}


@pytest.mark.parametrize("name", CASES)
def test_driven_keypoints_equal_the_reference(section, source, motion, networks, lip_ratio, name):
    driver = PortraitDriver(CASES[name], source=source, first_frame=motion[:1], source_lip_ratio=lip_ratio, **networks)
    section.check(f"{name.split('_')[0]}_x_s", driver.source_keypoints, 1e-5)
    section.check(f"{name}_x_d", driver.keypoints(motion), 1e-5)


def test_eye_retargeting_of_the_reference_freezes_the_portrait(section, source, motion, networks):
    """Document why this option is omitted: every frame is the stitched source, for any motion."""
    still = torch.from_numpy(section.stored["human_x_s"])
    with torch.inference_mode():
        stitched = stitch_keypoints(networks["stitching"], still, still)
    for x_d in section.stored["human_eye_retarget_x_d"]:
        assert abs(still + (stitched - still) * 1.1 - torch.from_numpy(x_d)).max() < 1e-5 * abs(x_d).max()


def test_every_array_of_the_section_is_tested(section):
    tested = {f"{name}_x_d" for name in CASES} | {"human_x_s", "animal_x_s", "human_eye_retarget_x_d"}
    assert set(section.stored) == tested
