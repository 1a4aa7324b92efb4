"""Table and sheet about animals."""

import numpy as np
import pytest
import torch

from joyvasa.models import Models
from joyvasa.motion.sequence import POSE_SIZE
from joyvasa.options import AnimationConfig
from joyvasa.sample.measurement.animals import FRAMES, TILE, UNIT, AnimalResult, draw_sheet, format_table, read_openings
from joyvasa.sample.networks.points import INNER_LOWER_LIP, KEYPOINTS, LEFT_CORNER, NOSE_TIP, RIGHT_CORNER
from joyvasa.sample.training.training_media import SIZE, reduce_crop
from tests.media import MEDIA


def test_the_table_names_animals_without_a_face_and_counts_the_others():
    good = AnimalResult("cat.jpg", 0.9, 0.1, 0.7, 0.0, 0.2, 0.01)
    bad = AnimalResult("dog.jpg", 0.9, float("nan"), 0.3, 0.0, 0.2, 0.0)
    table = format_table([good, AnimalResult("fish.jpg", None), bad])
    assert "| cat.jpg | 0.90 | 0.10 | 0.70 | 0.00 | 0.20 | 1.0% |" in table
    assert "| fish.jpg | no face |" in table
    assert "| dog.jpg | 0.90 |  | 0.30 |" in table
    assert "Found: 2 of 3. Correlation of at least 0.5: 1 of 2." in table


def test_the_sheet_has_a_row_per_animal():
    tiles = [np.full((256, 256, 3), 10 * n, np.uint8) for n in range(FRAMES + 1)]
    sheet = draw_sheet([("a", tiles), ("b", tiles)])
    assert sheet.shape[1] == (FRAMES + 1) * TILE
    assert sheet.shape[0] > 2 * TILE


def test_the_opening_is_the_motion_of_the_jaw_relative_to_the_nose():
    draw = np.random.default_rng(0)
    noise = np.repeat(np.repeat(draw.integers(0, 255, (64, 64, 3), dtype=np.uint8), 4, 0), 4, 1)
    points = np.zeros((21, 2))
    points[NOSE_TIP], points[INNER_LOWER_LIP] = (128, 130), (128, 160)
    points[RIGHT_CORNER], points[LEFT_CORNER] = (110, 160), (146, 160)
    opened, turned = noise.copy(), np.roll(noise, 5, axis=0)
    opened[168:230] = noise[160:222]
    openings = read_openings(points, [noise, opened, turned])
    np.testing.assert_allclose(openings, [0, 8 / UNIT, 0], atol=1 / UNIT)


@pytest.mark.parametrize(("name", "opening"), [("s30", 0.34), ("s32", 0.45), ("s41", 0.0)])
@pytest.mark.skipif(not MEDIA.exists(), reason="needs the media folder")
@torch.inference_mode()
def test_mouths_that_are_open_in_the_picture_close_in_silence(name, opening):
    models = Models(AnimationConfig(device="cpu", mode="animal"))
    portrait = models.encoder.encode([models.read_picture(MEDIA / f"animals/{name}.jpg")])[0]
    silence = torch.zeros(1, 3 * KEYPOINTS + POSE_SIZE)
    silence[:, 3 * KEYPOINTS :] = 0.5
    motion = models.template.denormalize(silence)
    motion.expression[:] = 0
    driver = models.build_driver(portrait, motion)
    frame = models.renderer.render(portrait.feature, driver.source_keypoints, driver.keypoints(motion))[0]
    points = (driver.source_keypoints[0, :, :2].numpy() + 1) * SIZE / 2 - 0.5
    source = reduce_crop(portrait.picture.crop.image)
    opened = read_openings(points, [source, frame.numpy()])[1]
    assert opened == pytest.approx(-opening, abs=0.06)
