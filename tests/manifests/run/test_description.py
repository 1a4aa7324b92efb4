from dataclasses import replace

import pytest
import yaml

from manifests.errors import ManifestError
from manifests.run.description import ManifestSource, RunDescription, changed_settings, require_same_settings

RUN = RunDescription(
    configuration={"seed": 1, "sampling": {"steps": 50, "scales": (1, 2)}, "name": "Jörg"},
    manifest=ManifestSource("/data/m.csv", "/data", "csv", "ab", 10, 9),
    bundles={"sample": {"motion": "cd"}},
    versions={"joyvasa": "0.1"},
)


def test_the_description_survives_its_file():
    again = RunDescription.from_yaml(RUN.to_yaml())
    assert again.manifest == RUN.manifest
    assert again.configuration == {"seed": 1, "sampling": {"steps": 50, "scales": [1, 2]}, "name": "Jörg"}
    assert again.created.endswith("+00:00")
    assert again.fingerprint() == RUN.fingerprint()
    assert changed_settings(RUN, again) == []


def test_a_file_from_before_there_were_modes_is_about_people():
    content = yaml.safe_load(replace(RUN, manifest=replace(RUN.manifest, modes=("animal",))).to_yaml())
    assert content["manifest"].pop("modes") == ["animal"]
    again = RunDescription.from_yaml(yaml.safe_dump(content).encode())
    assert again.manifest.modes == ("human",)
    assert changed_settings(RUN, again) == []


@pytest.mark.parametrize("modes", [[], ["plant"], "human", None, 3])
def test_modes_that_nobody_knows_are_refused(modes):
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
    assert [str(difference) for difference in changed_settings(RUN, new)] == [
        "configuration.sampling.steps: 50 → 10",
        "manifest.fingerprint: ab → ef",
        "bundles.sample.motion: cd → cc",
        "configuration.extra.x: (absent) → True",
    ]
    assert new.fingerprint() != RUN.fingerprint()
    with pytest.raises(ManifestError, match=r"run_changed: .*steps: 50 → 10; .*start a new run"):
        require_same_settings(RUN, new)


def test_other_versions_and_times_do_not_stop_a_resume():
    new = replace(RUN, versions={"joyvasa": "0.2"}, created="2030-01-01")
    assert new.fingerprint() == RUN.fingerprint()
    require_same_settings(RUN, new)


def test_a_long_list_of_differences_is_cut():
    new = replace(RUN, configuration={f"o{n}": n for n in range(50)})
    with pytest.raises(ManifestError, match="and 44 more"):
        require_same_settings(RUN, new)


@pytest.mark.parametrize("content", [b"", b"a: [", b"layout: 1", b"layout: 99", b"- 1", b"\xff"])
def test_a_damaged_description_is_one_sentence(content):
    with pytest.raises(ManifestError, match="run_unreadable"):
        RunDescription.from_yaml(content)


def test_values_that_run_nothing():
    text = RUN.to_yaml() + b"x: !!python/object/apply:os.getcwd []\n"
    with pytest.raises(ManifestError, match="run_unreadable"):
        RunDescription.from_yaml(text)
