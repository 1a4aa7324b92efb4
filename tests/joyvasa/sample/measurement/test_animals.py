"""Table and sheet about animals."""

import numpy as np

from joyvasa.sample.measurement.animals import FRAMES, TILE, AnimalResult, draw_sheet, format_table


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
