"""Licenses that restrict or forbid redistribution, or are unclear, stop an export before anything is written."""

import pytest
import yaml

from joyvasa.errors import InputError
from pipelines.runs.export.config import ExportConfig
from pipelines.runs.export.export import export_dataset
from pipelines.runs.export.licenses import judge_license
from tests.pipelines.runs.export.made_runs import inputs_folder, make_numbered_run, make_row, make_run


def make_licensed_run(root, *licenses, weights=("MIT",)):
    rows = [{**make_row(n, inputs_folder(root)), "image_license": name} for n, name in enumerate(licenses)]
    make_run(root, rows, licenses=weights)
    return str(root)


def read_license(folder):
    return yaml.safe_load((folder / "README.md").read_text().split("---")[1])["license"]


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("MIT", "free"),
        ("Apache-2.0", "free"),
        ("CC BY 4.0", "free"),
        ("cc-by-sa-4.0", "free"),
        ("CC0", "free"),
        ("public domain", "free"),
        ("CC BY-NC 4.0", "restricted"),
        ("InsightFace non-commercial research", "restricted"),
        ("CC BY-ND 4.0", "forbidden"),
        ("CC-BY-NC-ND-4.0", "forbidden"),
        ("All rights reserved", "forbidden"),
        ("(not stated)", "unclear"),
        ("house rules", "unclear"),
        ("MIT, but ask first", "unclear"),
    ],
)
def test_a_license_is_judged_by_its_name(name, verdict):
    assert judge_license(name) == verdict


def test_licenses_of_weights_and_sources_must_be_accepted(tmp_path):
    run = make_licensed_run(tmp_path / "run", "CC BY 4.0", "CC BY-ND 4.0", None, weights=["MIT", "CC BY-NC 4.0"])
    expected = (
        r"license_not_accepted: .*CC BY-NC 4\.0 \(weights, restricted; records: 3\); "
        r"CC BY-ND 4\.0 \(image_license, forbidden; records: 1\); "
        r"\(not stated\) \(image_license, unclear; records: 1\): .*--accept-licenses.*nothing was written"
    )
    with pytest.raises(InputError, match=expected):
        export_dataset(run, str(tmp_path / "data"))
    assert not (tmp_path / "data").exists()

    result = export_dataset(run, str(tmp_path / "data"), ExportConfig(accept_licenses=True))
    assert sum(note.startswith("accepted license: ") for note in result.notes) == 3
    assert "| image_license | CC BY-ND 4.0 | 1 | forbidden |" in (tmp_path / "data/README.md").read_text()
    assert read_license(tmp_path / "data") == "other"


def test_one_common_license_is_that_of_the_data_set(tmp_path):
    export_dataset(make_licensed_run(tmp_path / "run", "MIT", "mit"), str(tmp_path / "data"))
    assert read_license(tmp_path / "data") == "mit"


def test_sources_without_licenses_are_noted_and_must_be_accepted_for_an_upload(tmp_path):
    make_numbered_run(tmp_path / "run", 2)
    source, out = str(tmp_path / "run"), str(tmp_path / "data")
    with pytest.raises(InputError, match="license_not_accepted: the rows state no licenses of portraits"):
        export_dataset(source, out, ExportConfig(publish=True))
    assert not (tmp_path / "data").exists()
    notes = []
    export_dataset(source, out, on_note=notes.append)
    assert notes[0].startswith("the rows state no licenses of portraits and recordings")
    assert read_license(tmp_path / "data") == "unknown"
