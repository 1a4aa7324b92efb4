from dataclasses import replace

import pytest
import yaml

from manifests.problems import ManifestError
from manifests.run.description import ManifestSource, RunDescription, find_changed_settings, require_same_settings

RUN = RunDescription(
    configuration={"seed": 1, "sampling": {"steps": 50, "scales": (1, 2)}, "name": "Jörg"},
    manifest=ManifestSource("/data/m.csv", "/data", "csv", "ab", 10, 9, {"human": 9}),
    bundles={"sample": {"motion": "cd"}},
    versions={"joyvasa": "0.1"},
)


def test_a_description_can_be_written_and_read():
    again = RunDescription.from_yaml(RUN.to_yaml())
    assert again.manifest == RUN.manifest
    assert again.configuration == {"seed": 1, "sampling": {"steps": 50, "scales": [1, 2]}, "name": "Jörg"}
    assert again.created.endswith("+00:00")
    assert again.fingerprint() == RUN.fingerprint()
    assert find_changed_settings(RUN, again) == []


@pytest.mark.parametrize("modes", [{}, {"plant": 1}, ["human"], "human", None, 3, {"human": "many"}])
def test_unknown_modes_are_refused(modes):
    content = yaml.safe_load(RUN.to_yaml())
    content["manifest"]["modes"] = modes
    with pytest.raises(ManifestError, match="run_unreadable"):
        RunDescription.from_yaml(yaml.safe_dump(content).encode())


def test_every_changed_setting_is_named_with_both_values():
    new = replace(
        RUN,
        configuration={"seed": 1, "sampling": {"steps": 10, "scales": (1, 2)}, "extra": {"x": True}, "name": "Jörg"},
        manifest=replace(RUN.manifest, fingerprint="ef"),
        bundles={"sample": {"motion": "cc"}},
    )
    assert find_changed_settings(RUN, new) == [
        "configuration.sampling.steps: 50 → 10",
        "manifest.fingerprint: ab → ef",
        "bundles.sample.motion: cd → cc",
        "configuration.extra.x: (absent) → true",
    ]
    assert new.fingerprint() != RUN.fingerprint()
    with pytest.raises(ManifestError, match=r"run_changed: .*steps: 50 → 10; .*start a new run"):
        require_same_settings(RUN, new)


def test_other_versions_and_times_do_not_prevent_a_resume():
    new = replace(RUN, versions={"joyvasa": "0.2"}, created="2030-01-01")
    assert new.fingerprint() == RUN.fingerprint()
    require_same_settings(RUN, new)


def test_a_long_list_of_changes_is_shortened():
    new = replace(RUN, configuration={f"o{n}": n for n in range(50)})
    with pytest.raises(ManifestError, match="and 44 more"):
        require_same_settings(RUN, new)


@pytest.mark.parametrize("content", [b"", b"a: [", b"layout: 1", b"layout: 99", b"- 1", b"\xff"])
def test_a_damaged_description_gives_one_sentence(content):
    with pytest.raises(ManifestError, match="run_unreadable"):
        RunDescription.from_yaml(content)


@pytest.mark.parametrize(
    "change",
    [
        {"configuration": 3},
        {"bundles": None},
        {"versions": []},
        {"kind": "x"},
        {"created": {}},
        {"manifest": {"rows": 1}},
    ],
)
def test_values_of_other_types_are_refused(change):
    content = yaml.safe_load(RUN.to_yaml()) | change
    with pytest.raises(ManifestError, match=f"run_unreadable: .*{next(iter(change))}"):
        RunDescription.from_yaml(yaml.safe_dump(content).encode())


def test_a_description_cannot_run_code():
    text = RUN.to_yaml() + b"x: !!python/object/apply:os.getcwd []\n"
    with pytest.raises(ManifestError, match="run_unreadable"):
        RunDescription.from_yaml(text)
