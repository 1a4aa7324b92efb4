"""Validation of bundle.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from joyvasa.bundles import open_bundle
from joyvasa.bundles.spec import MAX_SPEC_BYTES, read_spec
from joyvasa.errors import ModelError


def content(**role: Any) -> dict[str, Any]:
    return {
        "format_version": 1,
        "name": "mine",
        "licenses": {"mit": {"name": "MIT", "commercial": "yes"}},
        "roles": {
            "lip": {"file": "lip.safetensors", "format": "safetensors", "license": "mit", "network": "lip"} | role
        },
    }


def read(folder: Path, value: Any) -> Any:
    path = folder / "bundle.yaml"
    path.write_text(value if isinstance(value, str) else yaml.safe_dump(value))
    return read_spec(path)


def read_invalid(folder: Path, value: Any) -> str:
    with pytest.raises(ModelError) as caught:
        read(folder, value)
    assert caught.value.code == "bundle_invalid"
    assert str(folder / "bundle.yaml") in caught.value.sentence
    assert "\n" not in caught.value.sentence
    return caught.value.sentence


def test_a_small_bundle_is_read(tmp_path: Path) -> None:
    spec = read(tmp_path, content())
    assert spec.roles["lip"].file == "lip.safetensors"
    assert spec.roles_for_mode("human") == ["lip"]
    assert spec.roles_for_mode("animal") == []


@pytest.mark.parametrize(
    "file",
    [
        "/etc/passwd",
        "../outside",
        "folder/../../outside",
        "folder/./file",
        "folder//file",
        "",
        "C:/outside",
        "c:outside",
        "..\\outside",
        "folder\\file",
        "line\nbreak",
        "nul\x00byte",
        "~\u202etxt.pth",
    ],
)
def test_paths_that_leave_the_bundle_are_refused(tmp_path: Path, file: str) -> None:
    assert "roles.lip" in read_invalid(tmp_path, content(file=file))
    assert "roles.lip" in read_invalid(tmp_path, content(older=[{"file": file}]))
    if file:
        assert "source" in read_invalid(tmp_path, content(source={"repository": "a/b", "path": file}))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"color": "red"}, "roles.lip.color is unknown: remove it"),
        ({"sha256": "abc"}, "roles.lip.sha256 is 'abc'; expected text that matches ^[0-9a-f]{64}$"),
        ({"sha256": "A" * 64}, "sha256"),
        ({"bytes": -1}, "roles.lip.bytes is -1; expected at least 0"),
        ({"bytes": "many"}, "roles.lip.bytes is 'many'; expected a whole number"),
        ({"optional": 7}, "roles.lip.optional is 7; expected true or false"),
        ({"scales": [1]}, "roles.lip.scales is [1]; expected a mapping"),
        ({"older": "x"}, "roles.lip.older is 'x'; expected a list"),
        ({"source": "x"}, "roles.lip.source is 'x'; expected a mapping"),
        ({"source": {"repository": "a/b"}}, "roles.lip.source.path is missing"),
        ({"file": "x" * 500}, "expected at most 400 characters"),
        ({"file": ""}, "roles.lip.file is ''; expected at least 1 characters"),
        ({"format": "pickle"}, "format"),
        ({"license": "unknown"}, "license"),
        ({"modes": ["fish"]}, "roles.lip.modes.0 is 'fish'; expected human, animal or training"),
        ({"file": None}, "roles.lip: a role has a file"),
        ({"network": "../lip"}, "network"),
        ({"switches": {"detector": "guess"}}, "detector is 'guess'; expected one of insightface, blazeface"),
        ({"switches": {"color": 1}}, "color"),
        ({"source": {"repository": "http://host/x", "path": "y"}}, "repository"),
        ({"source": {"repository": "a/b", "path": "y", "revision": "../x"}}, "revision"),
    ],
)
def test_unknown_and_wrong_entries_are_named(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    assert named in read_invalid(tmp_path, content(**change))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"format_version": 2}, "format_version is 2; expected 1"),
        ({"format_version": None}, "format_version is null; expected 1"),
        ({"name": "../x"}, "name is '../x'; expected text"),
        ({"extra": 1}, "extra is unknown"),
        ({"roles": {"Lip Net": {}}}, "roles.Lip Net"),
        ({"licenses": {"mit": {}}}, "licenses.mit.name is missing; licenses.mit.commercial is missing"),
    ],
)
def test_wrong_entries_of_the_bundle_are_refused(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    assert named in read_invalid(tmp_path, content() | change)


def test_content_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    assert "bundle is null; expected a mapping" in read_invalid(tmp_path, "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1, 2]",
        "name: [",
        "name: !!python/object/apply:os.system ['touch it-ran']",
        "name: a\nname: b",
        "a: &a [1]\nb: [*a, *a]",
        "name: " + "x" * MAX_SPEC_BYTES,
        "[" * 5000,
    ],
)
def test_what_is_no_bundle_yaml_is_refused(tmp_path: Path, text: str) -> None:
    read_invalid(tmp_path, text)


def test_a_bundle_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        read_spec(tmp_path / "none.yaml")


def test_the_published_bundle_pins_every_file() -> None:
    spec = open_bundle("joyvasa").spec
    for name, role in spec.roles.items():
        for version in role.versions:
            assert version.sha256, name
            assert version.source, name
    assert spec.licenses[spec.roles["face_detector"].license].commercial == "no"
    assert spec.licenses[spec.roles["animal_landmarks"].license].commercial == "no"
    human = {"appearance_feature_extractor", "motion_extractor", "warping_module", "spade_generator"}
    human |= {"stitching", "lip", "eye", "motion_generator", "motion_template"}
    human |= {"face_detector", "landmarks106", "landmarks203"}
    assert set(spec.roles_for_mode("human")) == human
    assert human <= set(spec.roles_for_mode("all"))
