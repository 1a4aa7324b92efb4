from pathlib import Path

import numpy as np
import pytest

from joyvasa.bundles.detectors import load_people_detector
from joyvasa.faces.mode_check import ModeCheck
from joyvasa.media.image import read_image, resize_to_limit
from tests.joyvasa.faces.animals import draw_cat
from tests.media import DATA, EXAMPLES, MEDIA, MORE_MEDIA, needs_more_media

PEOPLE = [DATA / "portrait.jpg", *sorted(EXAMPLES.glob("portrait*.jpg"))]


@pytest.fixture(scope="module")
def check() -> ModeCheck:
    return ModeCheck(load_people_detector())


def list_suspects(check: ModeCheck, mode: str, folder: Path) -> list[str]:
    pictures = sorted(folder.iterdir())
    return [p.name for p in pictures if check.contradicts(mode, resize_to_limit(read_image(p), max_side=1280))]


def test_an_animal_contradicts_only_the_mode_for_people(check):
    assert check.contradicts("human", draw_cat())
    assert not check.contradicts("animal", draw_cat())


@pytest.mark.parametrize("path", PEOPLE, ids=lambda path: path.name)
def test_a_person_does_not_contradict_the_mode_for_people(check, path):
    assert not check.contradicts("human", read_image(path))


def test_a_photograph_of_a_person_contradicts_the_mode_for_animals(check):
    assert check.contradicts("animal", read_image(DATA / "portrait.jpg"))


@pytest.mark.parametrize("mode", ["human", "animal"])
def test_a_uniform_picture_contradicts_no_mode(check, mode):
    assert not check.contradicts(mode, np.full((300, 400, 3), 128, np.uint8))


@pytest.mark.slow
def test_real_animals_are_distinguished_from_people(check):
    assert len(list_suspects(check, "human", MEDIA / "animals")) >= 5  # of 6
    assert list_suspects(check, "animal", MEDIA / "animals") == []
    assert list_suspects(check, "human", MEDIA / "portraits") == []
    assert len(list_suspects(check, "animal", MEDIA / "portraits")) == 9


@needs_more_media
@pytest.mark.media
@pytest.mark.slow
def test_few_of_many_people_are_mistaken_for_animals(check):
    assert len(list_suspects(check, "human", MORE_MEDIA / "training/portraits")) <= 1  # of 80
    assert len(list_suspects(check, "animal", MORE_MEDIA / "training/portraits")) >= 78
