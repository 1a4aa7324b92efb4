import cv2
import numpy as np
import pytest

from joyvasa.animator import Animator
from joyvasa.errors import ModelError
from joyvasa.media.image import perceptual_hash
from stages.base import Failed, FailureKind, Item
from stages.config import StageConfig
from stages.portrait import PortraitStage
from tests.joyvasa.faces.animals import draw_cat
from tests.stages.items import PORTRAIT, make_record, options, payloads, same_bytes, set_up


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Three pictures of a face: original, mirrored, darker."""
    folder, image = tmp_path_factory.mktemp("pictures"), cv2.imread(str(PORTRAIT))
    variants = {"plain": image, "mirrored": image[:, ::-1], "dark": image // 2}
    for name, variant in variants.items():
        cv2.imwrite(str(folder / f"{name}.png"), variant)
    return [make_record(name, image=folder / f"{name}.png") for name in variants]


@pytest.fixture(scope="module")
def stage():
    return set_up(PortraitStage(StageConfig(animation=options())))


def test_a_portrait_equals_that_of_the_animator_after_pickling(stage, pictures):
    (payload,) = payloads(stage.run([Item(pictures[0])]))
    animator = Animator(options())
    expected = animator.encode_portraits([animator.read_picture(pictures[0].image)])[0]
    portrait = payload.to_portrait(animator.models.device)
    assert portrait.feature.equal(expected.feature)
    assert portrait.keypoints.expression.equal(expected.keypoints.expression)
    np.testing.assert_array_equal(portrait.picture.image, expected.picture.image)


def test_a_batch_gives_the_same_portraits_as_single_calls(stage, pictures):
    batched = payloads(stage.run([Item(record) for record in pictures]))
    for record, payload in zip(pictures, batched, strict=True):
        (alone,) = payloads(stage.run([Item(record)]))
        np.testing.assert_allclose(payload.feature, alone.feature, rtol=0, atol=1e-4)
        np.testing.assert_allclose(payload.keypoints["canonical"], alone.keypoints["canonical"], rtol=0, atol=1e-4)


def test_strict_portraits_are_bit_identical_in_any_batch(pictures):
    stage = set_up(PortraitStage(StageConfig(animation=options(), determinism="strict")))
    batched = payloads(stage.run([Item(record) for record in reversed(pictures)]))[::-1]
    for record, payload in zip(pictures, batched, strict=True):
        (alone,) = payloads(stage.run([Item(record)]))
        assert payload.feature.tobytes() == alone.feature.tobytes()
        assert same_bytes(payload.keypoints, alone.keypoints)


def test_a_bad_picture_fails_alone(stage, pictures, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    cv2.imwrite(str(tmp_path / "empty.png"), np.full((300, 300, 3), 127, np.uint8))
    bad = [make_record(name, image=tmp_path / f"{name}.png") for name in ("broken", "absent", "empty")]
    outcomes = stage.run([Item(record) for record in (bad[0], pictures[0], bad[1], bad[2], pictures[1])])
    failed = [outcomes[number] for number in (0, 2, 3)]
    assert all(isinstance(outcome, Failed) and outcome.kind is FailureKind.BAD_INPUT for outcome in failed)
    assert len({outcome.code for outcome in failed}) == 3
    payloads([outcomes[1], outcomes[4]])


def test_a_feature_that_is_not_finite_fails_only_its_record(stage, pictures, monkeypatch):
    encode = type(stage._models.encoder).encode
    dark = cv2.imread(pictures[2].image).mean()
    plain = cv2.imread(pictures[0].image).mean()
    limit = (dark + plain) / 2

    def by_limit(self, given):
        if any(picture.image.mean() < limit for picture in given):
            raise ModelError("portrait_not_finite", "a dark picture")
        return encode(self, given)

    monkeypatch.setattr(type(stage._models.encoder), "encode", by_limit)
    outcomes = stage.run([Item(record) for record in pictures])
    payloads(outcomes[:2])
    assert isinstance(outcomes[2], Failed)
    assert (outcomes[2].kind, outcomes[2].code) == (FailureKind.POISON, "portrait_not_finite")


def test_out_of_memory_fails_the_whole_batch(stage, pictures, monkeypatch):
    def full(self, given):
        raise MemoryError

    monkeypatch.setattr(type(stage._models.encoder), "encode", full)
    outcomes = stage.run([Item(record) for record in pictures])
    assert [outcome.kind for outcome in outcomes] == [FailureKind.OUT_OF_MEMORY] * 3


def test_reduced_precision_halves_the_feature(pictures):
    stage = set_up(PortraitStage(StageConfig(animation=options("precision=bf16"))))
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
    return set_up(PortraitStage(StageConfig(animation=options("mode=animal"))))


def test_a_stage_accepts_only_the_mode_of_its_configuration(stage, animal_stage, pictures, cat):
    (payload,) = payloads(animal_stage.run([Item(make_record("cat", image=cat, mode="animal"))]))
    assert payload.picture.n_faces == 1
    for built, mode in ((stage, "animal"), (animal_stage, "human")):
        (outcome,) = built.run([Item(make_record("lost", image=cat, mode=mode))])
        assert (outcome.kind, outcome.code) == (FailureKind.STOP, "mode_misrouted")


def test_faces_and_warnings_are_facts(stage, animal_stage, pictures, cat):
    (outcome,) = stage.run([Item(pictures[0])])
    assert outcome.facts["image_phash"] == perceptual_hash(outcome.payload.picture.image)
    assert (outcome.facts["n_faces"], outcome.facts["warnings"], outcome.facts["warning_codes"]) == (1, None, None)
    (outcome,) = stage.run([Item(make_record("cat", image=cat))])
    assert outcome.code == "face_not_found"
    assert "use mode=animal" in outcome.sentence


def test_a_suspected_mode_is_a_warning_and_no_failure(animal_stage, tmp_path):
    person, animal = (cv2.resize(picture, (400, 500)) for picture in (cv2.imread(str(PORTRAIT)), draw_cat()[..., ::-1]))
    cv2.imwrite(str(tmp_path / "both.png"), np.hstack([person, animal]))
    (outcome,) = animal_stage.run([Item(make_record("both", image=tmp_path / "both.png", mode="animal"))])
    assert "mode_mismatch_suspected" in outcome.facts["warning_codes"].split(",")
    assert "use mode=human" in outcome.facts["warnings"]
