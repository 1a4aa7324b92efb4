import cv2
import numpy as np
import pytest

from joyvasa.animator import Animator
from joyvasa.errors import ModelError
from stages.base import Failed, FailureKind, Item
from stages.config import StageConfig
from stages.portrait import PortraitStage
from tests.joyvasa.faces.animals import draw_cat
from tests.media import MEDIA
from tests.stages.items import PORTRAIT, options, payloads, ready, record, same_bytes


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Three of a face: as it is, mirrored, darker."""
    folder, image = tmp_path_factory.mktemp("pictures"), cv2.imread(str(PORTRAIT))
    variants = {"plain": image, "mirrored": image[:, ::-1], "dark": image // 2}
    for name, variant in variants.items():
        cv2.imwrite(str(folder / f"{name}.png"), variant)
    return [record(name, image=folder / f"{name}.png") for name in variants]


@pytest.fixture(scope="module")
def stage():
    return ready(PortraitStage(StageConfig(animation=options())))


def test_a_portrait_is_that_of_the_animator_and_survives_the_journey(stage, pictures):
    (payload,) = payloads(stage.run([Item(pictures[0])]))
    animator = Animator(options())
    expected = animator.encode_portraits([animator.read_picture(pictures[0].image)])[0]
    found = payload.to_portrait(animator.models.device)
    assert found.feature.equal(expected.feature)
    assert found.keypoints.expression.equal(expected.keypoints.expression)
    np.testing.assert_array_equal(found.picture.image, expected.picture.image)


def test_a_batch_gives_what_each_alone_gives(stage, pictures):
    together = payloads(stage.run([Item(one) for one in pictures]))
    for one, payload in zip(pictures, together, strict=True):
        (alone,) = payloads(stage.run([Item(one)]))
        np.testing.assert_allclose(payload.feature, alone.feature, rtol=0, atol=1e-4)
        np.testing.assert_allclose(payload.keypoints["canonical"], alone.keypoints["canonical"], rtol=0, atol=1e-4)


def test_strict_portraits_are_the_same_bytes_in_any_batch(pictures):
    stage = ready(PortraitStage(StageConfig(animation=options(), determinism="strict")))
    together = payloads(stage.run([Item(one) for one in reversed(pictures)]))[::-1]
    for one, payload in zip(pictures, together, strict=True):
        (alone,) = payloads(stage.run([Item(one)]))
        assert payload.feature.tobytes() == alone.feature.tobytes()
        assert same_bytes(payload.keypoints, alone.keypoints)


def test_a_bad_picture_fails_alone(stage, pictures, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    cv2.imwrite(str(tmp_path / "empty.png"), np.full((300, 300, 3), 127, np.uint8))
    bad = [record(name, image=tmp_path / f"{name}.png") for name in ("broken", "absent", "empty")]
    outcomes = stage.run([Item(one) for one in (bad[0], pictures[0], bad[1], bad[2], pictures[1])])
    failed = [outcomes[number] for number in (0, 2, 3)]
    assert all(isinstance(one, Failed) and one.kind is FailureKind.BAD_INPUT for one in failed)
    assert len({one.code for one in failed}) == 3
    payloads([outcomes[1], outcomes[4]])


def test_a_feature_that_is_not_finite_fails_its_record_alone(stage, pictures, monkeypatch):
    encode = type(stage._models.encoder).encode
    dark = cv2.imread(pictures[2].image).mean()
    plain = cv2.imread(pictures[0].image).mean()
    limit = (dark + plain) / 2

    def by_limit(self, given):
        if any(picture.image.mean() < limit for picture in given):
            raise ModelError("portrait_not_finite", "a dark picture")
        return encode(self, given)

    monkeypatch.setattr(type(stage._models.encoder), "encode", by_limit)
    outcomes = stage.run([Item(one) for one in pictures])
    payloads(outcomes[:2])
    assert isinstance(outcomes[2], Failed)
    assert (outcomes[2].kind, outcomes[2].code) == (FailureKind.POISON, "portrait_not_finite")


def test_want_of_memory_is_told_for_the_whole_batch(stage, pictures, monkeypatch):
    def full(self, given):
        raise MemoryError

    monkeypatch.setattr(type(stage._models.encoder), "encode", full)
    outcomes = stage.run([Item(one) for one in pictures])
    assert [outcome.kind for outcome in outcomes] == [FailureKind.OUT_OF_MEMORY] * 3


def test_reduced_precision_halves_the_feature(pictures):
    stage = ready(PortraitStage(StageConfig(animation=options("precision=bf16"))))
    (outcome,) = stage.run([Item(pictures[0])])
    assert outcome.payload.feature.dtype == np.float16
    assert outcome.facts["bytes"] == outcome.payload.n_bytes > outcome.payload.feature.nbytes


@pytest.fixture(scope="module")
def cat(tmp_path_factory):
    path = tmp_path_factory.mktemp("animals") / "cat.png"
    cv2.imwrite(str(path), draw_cat()[..., ::-1])
    return path


@pytest.fixture(scope="module")
def animal_stage():
    return ready(PortraitStage(StageConfig(animation=options("mode=animal"))))


def test_a_stage_serves_the_mode_of_its_configuration(stage, animal_stage, pictures, cat):
    (payload,) = payloads(animal_stage.run([Item(record("cat", image=cat, mode="animal"))]))
    assert payload.picture.n_faces == 1
    for built, mode in ((stage, "animal"), (animal_stage, "human")):
        (outcome,) = built.run([Item(record("lost", image=cat, mode=mode))])
        assert (outcome.kind, outcome.code) == (FailureKind.STOP, "mode_misrouted")


def test_faces_and_warnings_are_facts(stage, animal_stage, pictures, cat):
    (outcome,) = stage.run([Item(pictures[0])])
    assert (outcome.facts["n_faces"], outcome.facts["warnings"], outcome.facts["warning_codes"]) == (1, None, None)
    (outcome,) = stage.run([Item(record("cat", image=cat))])
    assert outcome.code == "face_not_found"
    assert "use mode=animal" in outcome.sentence


def test_a_suspected_mode_is_a_fact_and_no_failure(stage):
    (outcome,) = stage.run([Item(record("dog", image=MEDIA / "animals/s30.jpg"))])
    assert "mode_mismatch_suspected" in outcome.facts["warning_codes"].split(",")
    assert "use mode=animal" in outcome.facts["warnings"]
