import numpy as np
import pytest

from joyvasa.faces.detection import Face
from joyvasa.faces.square import Square
from joyvasa.faces.tracking import FaceDetections, TrackedFace, TrackState, average_clip_square, track_face
from tests.joyvasa.faces.detections import ELSEWHERE, FACE, OTHER, detect


def states(detections: list[FaceDetections], max_gap: int = 2) -> str:
    letters = {TrackState.ONE: "1", TrackState.LOST: "-", TrackState.SEVERAL: "2"}
    return "".join(letters[face.state] for face in track_face(detections, max_gap=max_gap))


def parse(text: str) -> list[FaceDetections]:
    faces = {"1": (FACE,), "-": (), "2": (FACE, OTHER), "s": (FACE, (300.0, 100.0, 30.0))}
    return [detect(5 * at, *faces[letter]) for at, letter in enumerate(text)]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("111111", "111111"),
        ("11--11", "111111"),  # lost briefly
        ("11---111", "-----111"),  # the rest before it is too short as well
        ("111---111", "111---111"),
        ("111222111", "111222111"),
        ("111211", "111111"),  # brief second detection
        ("------", "------"),
        ("---1---", "-------"),  # brief detection
        ("ssssss", "111111"),  # a small face in the background
        ("--1111", "--1111"),  # unknown before the first detection
    ],
)
def test_interruptions_count_when_they_last(shown, expected):
    assert states(parse(shown)) == expected


def test_a_face_that_jumps_is_another_face():
    detections = [detect(5 * at, FACE) for at in range(4)] + [detect(5 * at, ELSEWHERE) for at in range(4, 12)]
    faces = track_face(detections, max_gap=2)
    assert states(detections) == "1111---11111"
    assert faces[0].track != faces[-1].track


def test_a_face_is_followed_while_it_moves_although_a_larger_one_appears():
    detections = [detect(at, (100.0 + 10 * at, 100.0, 80.0), (500.0, 100.0, 30.0 + 10 * at)) for at in range(8)]
    faces = track_face(detections, max_gap=2)
    assert [face.box[0] for face in faces] == [100 + 10 * at for at in range(8)]
    assert faces[-1].state is TrackState.SEVERAL


def test_small_faces_are_ignored():
    landmarks = np.array([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]], np.float32)
    faces = [Face(np.array([10, 10, 90, 90], np.float32), 1.0, landmarks), Face(np.zeros(4), 1.0, landmarks)]
    assert len(FaceDetections.from_faces(0, faces, min_side=48).boxes) == 1


def test_the_square_of_a_clip_is_the_mean_and_the_face_stays_in_it():
    def tracked(x: float) -> TrackedFace:
        item = detect(0, (x, 100.0, 80.0))
        return TrackedFace(0, TrackState.ONE, 0, item.boxes[0], item.squares[0])

    square = average_clip_square([tracked(100), tracked(120)])
    assert square == Square((150.0, 140.0), 160.0, 0.0)
    assert average_clip_square([tracked(100), tracked(400)]) is None
    assert average_clip_square([]) is None
