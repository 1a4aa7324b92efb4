"""The registry of detectors, and adding a detector: a class and an entry."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from joyvasa.animator import Animator
from joyvasa.bundles import open_bundle
from joyvasa.bundles.detectors import load_builtin_detector
from joyvasa.bundles.requirements import list_network_roles, list_required_roles
from joyvasa.bundles.spec import Switches
from joyvasa.config import load_config
from joyvasa.errors import ConfigError, ModelError
from joyvasa.faces.animals import AnimalDetector
from joyvasa.faces.blazeface import BlazeFaceDetector
from joyvasa.faces.detection import Face
from joyvasa.faces.registry import DETECTORS, DetectorSource, DetectorSpec, build_detector, list_detectors
from joyvasa.models import Models
from joyvasa.options import AnimationConfig

README = Path(__file__).parents[3] / "joyvasa/faces/README.md"


def source_of(folder: Path) -> DetectorSource:
    return DetectorSource(
        device=torch.device("cpu"),
        threshold=0.15,
        file=lambda role: folder / f"{role}.onnx",
        network=lambda role: torch.nn.Identity(),
    )


class CenterDetector:
    """Detector that returns the center of every picture as a face."""

    def __init__(self, fraction: float) -> None:
        self.fraction = fraction

    @classmethod
    def create(cls, source: DetectorSource) -> CenterDetector:
        return cls(fraction=source.threshold)

    def detect(self, image: np.ndarray) -> list[Face]:
        height, width = image.shape[:2]
        middle, half = np.array([width, height]) / 2, min(height, width) * self.fraction / 2
        corners = np.concatenate([middle - half, middle + half]).astype(np.float32)
        landmarks = middle + half * np.array([[-0.5, -0.4], [0.5, -0.4], [0, 0], [-0.4, 0.5], [0.4, 0.5]])
        return [Face(corners, 1.0, landmarks.astype(np.float32))]


CENTER = DetectorSpec(constructors={"human": f"{__name__}:CenterDetector"}, license="MIT")


@pytest.fixture
def center(monkeypatch) -> DetectorSpec:
    monkeypatch.setitem(DETECTORS, "center", CENTER)
    return CENTER


@pytest.fixture
def picture(tmp_path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    return tmp_path / "noise.png"


def config(*settings: str) -> AnimationConfig:
    return load_config(AnimationConfig, settings=["device=cpu", "models=random", *settings])


@pytest.mark.usefixtures("center")
def test_a_registered_detector_is_an_option_and_reads_pictures(picture):
    models = Models(config("face.detector=center", "face.threshold=0.5"))
    read = models.read_picture(picture)
    assert read.n_faces == 1
    assert read.crop is not None
    np.testing.assert_allclose(read.crop.landmarks.mean(axis=0), [256, 256], atol=80)
    assert list_required_roles(models.config, models.bundle) == list_network_roles(models.config)


@pytest.mark.usefixtures("center")
def test_a_bundle_can_select_a_registered_detector():
    assert Switches(detector="center").detector == "center"
    with pytest.raises(ValueError, match="animal_detector is 'center'; expected one of xpose, compact"):
        Switches(animal_detector="center")


@pytest.mark.usefixtures("center")
def test_a_registered_detector_supports_only_its_modes():
    assert list_detectors("human") == ("insightface", "blazeface", "center")
    with pytest.raises(ConfigError, match="expected one of bundle, xpose, compact, none: center is for the other mode"):
        Animator(config("mode=animal", "face.detector=center"))


def test_unknown_detectors_are_refused():
    with pytest.raises(ConfigError, match=r"face\.detector is guess; expected one of bundle, insightface") as caught:
        config("face.detector=guess")
    assert "other mode" not in caught.value.sentence


def test_detectors_are_built_by_name(tmp_path):
    source = source_of(tmp_path)
    assert isinstance(load_builtin_detector("blazeface", "human", torch.device("cpu")), BlazeFaceDetector)
    assert isinstance(build_detector("compact", "animal", source), AnimalDetector)
    with pytest.raises(ModelError, match=r"not available: needs .*face_detector\.onnx, .*landmarks203\.onnx"):
        build_detector("insightface", "human", source)
    for name, mode in (("none", "human"), ("compact", "human"), ("xpose", "human"), ("insightface", "animal")):
        with pytest.raises(ConfigError, match="face_detector"):
            build_detector(name, mode, source)


@pytest.mark.parametrize("name", [name for name, spec in DETECTORS.items() if spec.roles])
def test_licenses_match_the_published_bundle(name):
    licenses = open_bundle("joyvasa").get_licenses(DETECTORS[name].roles)
    assert DETECTORS[name].license in {license.name for license in licenses.values()}


def test_the_readme_lists_the_registered_detectors():
    table = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", README.read_text(), re.MULTILINE))
    assert table.keys() == DETECTORS.keys()
    for name, spec in DETECTORS.items():
        assert spec.license in table[name]
        assert all(f"`{role}`" in table[name] for role in spec.roles)
