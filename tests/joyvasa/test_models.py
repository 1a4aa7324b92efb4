"""The networks that a configuration needs, and the configurations that are rejected."""

import dataclasses

import pytest
import torch

from joyvasa.animator import Animator
from joyvasa.bundles import open_bundle
from joyvasa.bundles.requirements import (
    find_detector_bundle,
    list_network_roles,
    list_required_roles,
    require_models,
    resolve_detector,
)
from joyvasa.bundles.spec import License
from joyvasa.config import load_config
from joyvasa.errors import ConfigError, ModelError
from joyvasa.faces.animals import AnimalDetector
from joyvasa.faces.blazeface import BlazeFaceDetector
from joyvasa.faces.xpose import XposeDetector
from joyvasa.models import Models
from joyvasa.motion.driving import DrivingConfig
from joyvasa.networks.motion_generator import MotionGeneratorConfig
from joyvasa.options import AnimationConfig
from joyvasa.rendering.source_video import SourceVideo
from tests.motions import opening_mouth

NETWORKS = ("appearance_feature_extractor", "motion_extractor", "warping_module", "spade_generator")
SHARED = ("motion_generator", "motion_template", "stitching")


def config(*settings: str) -> AnimationConfig:
    return load_config(AnimationConfig, settings=["device=cpu", *settings])


@pytest.fixture(autouse=True)
def models_home(tmp_path, monkeypatch):
    monkeypatch.setenv("JOYVASA_MODELS", str(tmp_path))


def test_animals_have_their_own_renderer_and_share_all_other_networks():
    assert set(list_network_roles(config("mode=human"))) == {*NETWORKS, *SHARED}
    assert set(list_network_roles(config("mode=animal"))) == {*(f"animal_{name}" for name in NETWORKS), *SHARED}
    assert "stitching" not in list_network_roles(config("mode=animal", "driving.stitching=false"))


@pytest.mark.parametrize(
    ("bundle", "mode", "wanted", "detector"),
    [
        ("joyvasa", "human", "bundle", "insightface"),
        ("joyvasa", "animal", "bundle", "xpose"),
        ("random", "human", "bundle", "blazeface"),
        ("random", "animal", "bundle", "compact"),
        ("joyvasa", "animal", "compact", "compact"),
        ("joyvasa", "animal", "none", "none"),
    ],
)
def test_the_bundle_selects_a_detector_per_mode(bundle, mode, wanted, detector):
    options = config(f"mode={mode}", f"face.detector={wanted}")
    assert resolve_detector(options, open_bundle(bundle)) == detector
    landmarks = {role for role in list_required_roles(options, open_bundle(bundle)) if "landmarks" in role}
    assert landmarks == {"insightface": {"landmarks106", "landmarks203"}, "xpose": {"animal_landmarks"}}.get(
        detector, set()
    )


@pytest.mark.parametrize(("wanted", "found"), [("blazeface", "faces"), ("insightface", None), ("none", None)])
def test_the_weights_of_a_detector_of_the_program_are_a_bundle(wanted, found):
    bundle = find_detector_bundle(config("models=joyvasa", f"face.detector={wanted}"), open_bundle("joyvasa"))
    assert (bundle.name if bundle else None) == found
    if bundle:
        assert {license.name for license in bundle.get_licenses().values()} == {"Apache-2.0"}
        assert all(license.commercial == "yes" for license in bundle.get_licenses().values())


@pytest.mark.parametrize(("mode", "kind"), [("human", BlazeFaceDetector), ("animal", AnimalDetector)])
def test_the_built_in_detector_depends_on_the_mode(mode, kind):
    assert isinstance(Models(config("models=random", f"mode={mode}")).detector, kind)


def test_the_animal_detector_receives_its_network(monkeypatch):
    arguments = {}
    monkeypatch.setattr(XposeDetector, "__init__", lambda self, **given: arguments.update(given))
    models = Models(config("models=random", "mode=animal", "face.detector=xpose"))
    networks = {"animal_landmarks": torch.nn.Identity()}
    monkeypatch.setattr(type(models.bundle), "load_network", lambda self, role, device: networks[role])
    assert isinstance(models.detector, XposeDetector)
    assert arguments == {"network": networks["animal_landmarks"], "device": models.device}


def test_networks_depend_on_the_mode():
    human, animal = (Models(config("models=random", f"mode={mode}")) for mode in ("human", "animal"))
    for name in NETWORKS:
        weights, animal_weights = (next(models.network(name).parameters()) for models in (human, animal))
        assert weights.shape == animal_weights.shape
        assert not weights.equal(animal_weights), name
    assert next(human.network("stitching").parameters()).equal(next(animal.network("stitching").parameters()))
    assert human.fingerprint != animal.fingerprint


def test_animals_have_their_own_driving_defaults_and_options_override_them():
    assert config("mode=animal").driving.for_mode("animal") == DrivingConfig(stitching=True).for_mode("animal")
    options = config(
        "driving.region=pose", "driving.multiplier=0.5", "driving.keep_scale=false", "driving.stitching=false"
    )
    driving = options.driving.for_mode("animal")
    assert (driving.region, driving.multiplier, driving.keep_scale, driving.stitching) == ("pose", 0.5, False, False)
    assert driving.relative
    assert config("driving.region=lip").driving.for_mode("animal").lip_indices is None  # not overridden


def test_people_have_the_human_driving_defaults():
    assert config().driving.for_mode("human") == DrivingConfig(stitching=True, keep_scale=False)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["mode=dog"], "mode is 'dog'"),
        (["mode=animal", "driving.relative=true", "driving.normalize_lip=true"], "in people only"),
        (["licenses=free"], "licenses is 'free'"),
    ],
)
def test_invalid_combinations_of_options_are_refused_in_one_sentence(settings, words):
    with pytest.raises(ConfigError) as caught:
        config(*settings)
    assert words in caught.value.sentence
    assert "\n" not in caught.value.sentence


@pytest.mark.parametrize(
    ("mode", "detector", "words"),
    [
        ("animal", "insightface", "expected one of bundle, xpose, compact, none: insightface is for the other mode"),
        ("human", "xpose", "expected one of bundle, insightface, blazeface, none: xpose is for the other mode"),
    ],
)
def test_detectors_of_the_other_mode_are_refused_in_one_sentence(mode, detector, words):
    with pytest.raises(ConfigError, match=f"face.detector is {detector} in mode {mode}; {words}$"):
        Animator(config(f"mode={mode}", f"face.detector={detector}"))


def test_a_replaced_mode_is_validated():
    assert dataclasses.replace(config(), mode="animal") == config("mode=animal")
    with pytest.raises(ConfigError, match="expected human or animal"):
        dataclasses.replace(config(), mode="training")


def test_missing_animal_files_are_named_with_the_command_that_fetches_them():
    with pytest.raises(ModelError) as caught:
        Animator(config("models=joyvasa", "mode=animal"))
    assert caught.value.code == "models_missing"
    for file in ("base_models_v1.1/warping_module.pth", "xpose.pth", "stitching_retargeting_module.pth"):
        assert file in caught.value.sentence
    assert caught.value.sentence.endswith("(joyvasa models fetch joyvasa --mode animal)")
    assert "liveportrait/base_models/" not in caught.value.sentence


@pytest.mark.parametrize(
    ("mode", "detector", "component", "other"),
    [
        ("human", "insightface", "InsightFace non-commercial research", "blazeface"),
        ("animal", "xpose", "IDEA non-commercial research", "compact"),
    ],
)
def test_commercial_use_refuses_restricted_detectors_and_suggests_another(mode, detector, component, other):
    options = config("models=joyvasa", f"mode={mode}", "licenses=commercial", f"face.detector={detector}")
    with pytest.raises(ConfigError, match="license_refused") as caught:
        require_models(options, open_bundle("joyvasa"))
    assert component in caught.value.sentence
    assert f"face.detector={other}" in caught.value.sentence
    assert "\n" not in caught.value.sentence


@pytest.mark.parametrize(("mode", "detector"), [("human", "blazeface"), ("animal", "compact")])
def test_commercial_use_selects_detectors_of_the_program(mode, detector):
    options = config("models=joyvasa", f"mode={mode}", "licenses=commercial")
    assert resolve_detector(options, open_bundle("joyvasa")) == detector
    with pytest.raises(ModelError, match="models_missing"):  # the only remaining error
        require_models(options, open_bundle("joyvasa"))
    require_models(dataclasses.replace(options, models="random"), open_bundle("random"))


def test_a_detector_is_not_shared_with_options_that_refuse_its_license():
    models = Models(config("models=random"))
    detector = models.detector
    assert models.with_config(config("models=random", "smile=0.5")).detector is detector
    assert "detector" not in vars(models.with_config(config("models=random", "licenses=commercial")))


@pytest.mark.parametrize("control", ["mouth.open", "eyes.open"])
def test_openings_that_networks_apply_to_pictures_are_refused_for_videos(control):
    models, row = Models(config("models=random")), config("models=random", f"{control}=0.2")
    source, motion = SourceVideo(None, None), opening_mouth(2)  # type: ignore[arg-type]
    models.render_source_video(source, motion)  # nothing is decoded before the first frame
    with pytest.raises(ConfigError, match=f"control_unsupported: {control} is set for a video") as caught:
        models.render_source_video(source, motion, row)
    assert "\n" not in caught.value.sentence


def test_a_bundle_without_animal_roles_is_an_error_in_animal_mode():
    bundle = open_bundle("sample")
    roles = {name: role for name, role in bundle.spec.roles.items() if not name.startswith("animal_")}
    people = dataclasses.replace(bundle, spec=bundle.spec.model_copy(update={"roles": roles}))
    with pytest.raises(
        ModelError, match=r"models_missing: bundle sample: .* no animal_.*use another one, such as --models"
    ):
        require_models(config("models=sample", "mode=animal"), people)


def test_the_built_in_bundle_has_all_roles_for_animals_and_may_be_used_commercially():
    require_models(config("models=sample", "mode=animal", "licenses=commercial"), open_bundle("sample"))


def test_unclear_terms_count_as_non_commercial():
    bundle = open_bundle("random")
    unclear = {"none": License(name="Unknown terms", commercial="unclear")}
    bundle = dataclasses.replace(bundle, spec=bundle.spec.model_copy(update={"licenses": unclear}))
    require_models(config("models=random"), bundle)
    with pytest.raises(ConfigError, match=r"Unknown terms.*use another bundle"):
        require_models(config("models=random", "licenses=commercial"), bundle)


def test_the_motion_model_needs_no_renderer_files():
    models = Models(config("models=joyvasa", "mode=animal"))
    with pytest.raises(ModelError) as caught:
        _ = models.motion_model
    assert "warping_module" not in caught.value.sentence


def test_a_bundle_without_a_motion_model_is_refused_in_one_sentence(monkeypatch):
    models = Models(config("models=random"))
    monkeypatch.setattr(type(models.bundle), "load_network", lambda self, role, device: torch.nn.Identity())
    with pytest.raises(
        ModelError, match="bundle_invalid: bundle random: the role motion_generator is Identity"
    ) as caught:
        _ = models.motion_model
    assert "expected a motion model" in caught.value.sentence


def test_a_motion_model_for_another_sample_rate_is_refused(monkeypatch):
    models = Models(config("models=random"))
    monkeypatch.setattr(MotionGeneratorConfig, "sample_rate", 8000)
    with pytest.raises(ModelError, match=r"MotionGenerator for sound of 8000 Hz; expected .* 16000 Hz"):
        _ = models.motion_model


@pytest.mark.parametrize("detector", ["none"])
def test_lips_are_not_normalized_with_a_detector_that_does_not_measure_them(detector):
    options = config(f"face.detector={detector}", "driving.relative=true", "driving.normalize_lip=true")
    with pytest.raises(ConfigError, match=rf"normalize_lip is true with the face detector {detector}; .*blazeface"):
        require_models(options, open_bundle("random"))
