"""Animation of animals, with every option that affects them."""

from functools import cache

import cv2
import numpy as np
import pytest

from joyvasa.animator import Animator
from joyvasa.config import load_config
from joyvasa.errors import InputError
from joyvasa.media.image import read_image
from joyvasa.options import AnimationConfig
from tests.joyvasa.faces.animals import draw_cat
from tests.media import DATA, MEDIA, read_frames, write_tone


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("animals")
    cv2.imwrite(str(path / "cat.png"), draw_cat(degrees=-20)[..., ::-1])
    write_tone(path / "speech.wav", seconds=0.2)
    return path


def options(*settings: str, mode: str = "animal") -> AnimationConfig:
    given = ["models=random", "device=cpu", f"mode={mode}", "encoding.crf=0", *settings]
    return load_config(AnimationConfig, settings=given)


@pytest.fixture(scope="module")
def frames_of(folder):
    @cache
    def animate(*settings: str) -> np.ndarray:
        Animator(options(*settings)).animate(folder / "cat.png", folder / "speech.wav", folder / "out.mp4")
        return read_frames(folder / "out.mp4").astype(int)

    return animate


def test_the_rendered_face_is_pasted_where_the_tilted_face_is(folder, frames_of):
    source = read_image(folder / "cat.png").astype(int)
    changed = np.abs(frames_of() - source).max((0, 3)) > 24
    crop = Animator(options()).read_picture(folder / "cat.png").crop
    y, x = np.nonzero(changed[:370])  # the text stamped for random weights is below
    points = np.stack([x, y, np.ones_like(x)])
    inside = (crop.to_crop @ points)[:2]
    assert inside.min() > -12
    assert inside.max() < 524
    in_picture = (1 - crop.outside_fraction) * np.linalg.det(crop.to_original[:2, :2]) * 512**2
    assert len(x) > 0.7 * in_picture


@pytest.mark.parametrize(
    "setting",
    [
        "seed=5",
        "crop.scale=1.8",
        "crop.vx_ratio=0.1",
        "crop.vy_ratio=0.0",
        "crop.size=256",
        "crop.rotate=false",
        "face.detector=none",
        "sampling.cfg_scale=1",
        "smoothing.method=none",
        "driving.stitching=false",
        "driving.region=exp",
        "driving.region=pose",
        "driving.region=lip",
        "driving.region=eyes",
        "driving.region=scale_and_translation",
        "driving.multiplier=0.5",
        "driving.keep_scale=false",
    ],
)
def test_every_option_of_animals_has_an_effect(frames_of, setting):
    assert np.abs(frames_of(setting) - frames_of()).max() > 0


def test_sizes_follow_the_options(frames_of):
    assert frames_of().shape == (5, 400, 400, 3)
    assert frames_of("picture.max_side=256").shape == (5, 256, 256, 3)
    assert frames_of("paste_back=false").shape == (5, 128, 128, 3)
    assert frames_of("face.detector=none", "paste_back=false").shape == (5, 128, 128, 3)


def test_animals_always_use_relative_motion(frames_of):
    plain = frames_of()
    for settings in (["driving.relative=true"], ["driving.relative=true", "driving.relative_mode=pose-friendly"]):
        assert np.array_equal(frames_of(*settings), plain)


def test_networks_for_animals_and_people_render_different_frames(folder, frames_of):
    crop = "face.detector=none"
    Animator(options(crop, mode="human")).animate(folder / "cat.png", folder / "speech.wav", folder / "human.mp4")
    assert np.abs(read_frames(folder / "human.mp4").astype(int) - frames_of(crop)).mean() > 4


def codes(picture) -> list[str]:
    return [warning.code for warning in picture.warnings]


def test_a_drawn_animal_is_accepted_in_animal_mode_and_refused_in_human_mode(folder):
    picture = Animator(options()).read_picture(folder / "cat.png")
    assert (picture.n_faces, "mode_mismatch_suspected" in codes(picture)) == (1, False)
    with pytest.raises(InputError, match=r"face_not_found: .*seems to show an animal.*use mode=animal"):
        Animator(options(mode="human")).read_picture(folder / "cat.png")


def test_a_person_in_animal_mode_causes_a_warning():
    assert codes(Animator(options()).read_picture(DATA / "portrait.jpg"))[0] == "mode_mismatch_suspected"


def test_without_a_detector_the_mode_is_not_checked(folder):
    picture = Animator(options("face.detector=none", mode="human")).read_picture(folder / "cat.png")
    assert (picture.n_faces, picture.crop, picture.warnings) == (None, None, ())


@pytest.mark.slow
def test_every_real_animal_becomes_a_video(tmp_path):
    animator = Animator(options("picture.max_side=320"))
    write_tone(tmp_path / "speech.wav", seconds=0.4)
    for picture in sorted((MEDIA / "animals").iterdir()):
        animation = animator.animate(picture, tmp_path / "speech.wav", tmp_path / "out.mp4")
        assert animation.n_frames == 10
        assert not any("mode" in warning for warning in animation.warnings[1:])


@pytest.mark.slow
def test_real_animals_in_human_mode_are_refused():
    animator = Animator(options(mode="human"))
    for picture in sorted((MEDIA / "animals").iterdir()):
        with pytest.raises(InputError, match=r"face_not_found: .*use mode=animal"):
            animator.read_picture(picture)


def test_a_real_person_in_animal_mode_is_refused():
    with pytest.raises(InputError, match=r"face_not_found: .*seems to show a person.*use mode=human"):
        Animator(options()).read_picture(MEDIA / "portraits/s9.jpg")
