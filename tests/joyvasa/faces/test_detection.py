import numpy as np
import pytest

from joyvasa.errors import ConfigError, InputError
from joyvasa.faces.detection import Face, choose_face, detect_faces, sort_faces


def face(left: float, top: float, side: float) -> Face:
    box = np.array([left, top, left + side, top + side], dtype=np.float32)
    return Face(box, 1.0, np.zeros((5, 2), dtype=np.float32))


FACES = [face(300, 20, 100), face(10, 90, 300), face(150, 50, 60)]


@pytest.mark.parametrize(
    ("order", "lefts"),
    [
        ("large-small", [10, 300, 150]),
        ("small-large", [150, 300, 10]),
        ("left-right", [10, 150, 300]),
        ("right-left", [300, 150, 10]),
        ("top-bottom", [300, 150, 10]),
        ("bottom-top", [10, 150, 300]),
    ],
)
def test_faces_are_sorted(order, lefts):
    assert [face.box[0] for face in sort_faces(FACES, order)] == lefts
    assert choose_face(FACES, order=order, index=1).face.box[0] == lefts[1]


def test_the_largest_of_several_is_chosen_and_candidates_are_counted():
    choice = choose_face([*FACES, face(0, 0, 20)])
    assert choice.face is FACES[1]
    assert choice.count == 3


def test_small_faces_are_ignored_in_every_order():
    assert choose_face([*FACES, face(0, 0, 20)], order="small-large").face is FACES[2]


def test_no_face_is_an_error():
    with pytest.raises(InputError, match=r"face_not_found: a\.jpg: no face found"):
        choose_face([], name="a.jpg")


def test_only_small_faces_are_an_error_with_both_sizes():
    with pytest.raises(InputError, match=r"face_too_small: a\.jpg: largest face is 30 pixels; expected at least 48"):
        choose_face([face(0, 0, 20), face(0, 0, 30)], name="a.jpg")


def test_index_beyond_the_faces_is_an_error():
    with pytest.raises(InputError, match="face_index: picture: 3 faces found"):
        choose_face(FACES, index=3)


def test_impossible_choices_are_refused():
    with pytest.raises(ConfigError, match="face_index"):
        choose_face(FACES, index=-1)
    with pytest.raises(ConfigError, match="face_order"):
        choose_face(FACES, order="best")


class OneByOne:
    def detect(self, image):
        return [face(0, 0, len(image))]


class AtOnce(OneByOne):
    def detect_batch(self, images):
        return [[face(1, 1, len(image))] for image in images]


def test_detectors_for_batches_receive_all_pictures_at_once():
    images = [np.zeros((size, 8, 3), np.uint8) for size in (10, 20)]
    assert [faces[0].side for faces in detect_faces(OneByOne(), images)] == [10, 20]
    assert [tuple(faces[0].box[:2]) for faces in detect_faces(AtOnce(), images)] == [(1, 1), (1, 1)]
