import numpy as np

from joyvasa.faces.following import follow_face
from tests.joyvasa.faces.detections import ELSEWHERE, FACE, OTHER, detect

INTERVAL = 5


def follow(detections, *, n_frames=None, scene_starts=(), index=0, max_gap=1):
    n_frames = n_frames or INTERVAL * len(detections)
    options = {"scene_starts": scene_starts, "index": index, "max_gap": max_gap, "frames_per_second": 25.0}
    return follow_face(detections, n_frames, **options)


def sequence(*shown):
    return [detect(INTERVAL * at, *faces) for at, faces in enumerate(shown)]


def test_a_face_that_stays_has_one_crop_in_all_frames():
    path = follow(sequence(*[(FACE,)] * 4, (), *[(FACE,)] * 3))
    assert path.visible.all()  # a single missed detection is bridged
    assert np.ptp(path.centers, axis=0).max() == 0
    assert len({(square.center, square.side) for square in path.squares()}) == 1


def test_frames_between_a_detection_of_the_face_and_one_without_it_are_hidden():
    path = follow(sequence((FACE,), (FACE,), (), (), (), (FACE,), (FACE,), (FACE,)))
    (span,) = path.hidden_spans()
    assert span == (6, 25)  # detections without the face at 10, 15 and 20
    assert np.isfinite(path.sides).all()


def test_the_last_frames_after_a_detection_are_visible():
    assert follow(sequence((FACE,), (FACE,)), n_frames=9).visible.all()


def test_each_scene_has_a_crop_of_its_own_and_flashes_are_no_scenes():
    path = follow(sequence(*[(FACE,)] * 4, *[(ELSEWHERE,)] * 4), scene_starts=(1, 20))
    assert path.scene_starts == (20,)
    assert path.visible.all()
    assert (path.centers[:20] == (140, 140)).all()
    assert (path.centers[20:] == (440, 340)).all()


def test_a_scene_without_the_face_is_hidden():
    path = follow(sequence(*[(FACE,)] * 2, *[()] * 2, *[(FACE,)] * 2), scene_starts=(10, 20))
    assert path.hidden_spans() == [(10, 20)]


def test_the_crop_follows_a_face_that_walks_away():
    walk = [((100.0 + 30 * at, 100.0, 80.0),) for at in range(24)]
    path = follow(sequence(*walk))
    assert path.visible.all()
    faces = 140 + 6 * np.arange(len(path))
    assert np.abs(path.centers[:, 0] - faces).max() < 25  # after the last detection, at frame 115, nothing is known


def test_the_crop_does_not_follow_quick_motions_of_a_face_that_walks():
    walk = [((100.0 + 30 * at + 10 * (at % 2), 100.0, 80.0),) for at in range(24)]
    path = follow(sequence(*walk))
    assert np.abs(np.diff(path.centers[20:90, 0]) - 6).max() < 1


def test_the_second_face_is_followed_on_request():
    path = follow(sequence(*[(FACE, OTHER)] * 4), index=1)
    assert path.several
    assert (path.centers == (330, 130)).all()
