"""Texts of problems name the column once."""

import pytest

from manifests.manifest import open_manifest
from manifests.media_files import MediaFileCheck
from manifests.problems import safe_text
from manifests.scan import Scan
from tests.manifests.tables import find_problems, pair, write

BAD = [
    ("image", {"image": ""}, "image is empty; expected a path or URI"),
    ("audio", {"audio": ""}, "audio is empty; expected a path or URI here or in motion"),
    (
        "image",
        {"image": "none.png"},
        "image 'none.png' no such file; expected a path",
    ),
    ("mode", {"mode": "fish"}, "mode 'fish' expected human or animal"),
    ("seed", {"seed": "many"}, "seed 'many' expected a whole number such as 42"),
    ("cfg_scale", {"cfg_scale": "1000"}, "cfg_scale '1000' expected a number from 0 to 100"),
    ("priority", {"priority": "1.5"}, "priority '1.5' expected a whole number"),
    ("record_id", {}, "record_id 'a' already used in line 2: give every row a unique id"),
]


@pytest.mark.parametrize(("column", "change", "text"), BAD, ids=[text for *_, text in BAD])
def test_a_problem_names_its_column_once(tmp_path, column, change, text):
    for name in ("p0.png", "s0.wav"):
        (tmp_path / name).write_bytes(b"x")
    bad = {**pair(0), "record_id": "b" if change else "a", **change}
    path = write(tmp_path / "m.csv", [{**pair(0), "record_id": "a"}, bad])
    with MediaFileCheck() as check:
        (problem,) = find_problems(Scan(open_manifest(str(path)), files=check))
    assert problem.column == column
    assert problem.text.startswith(text)
    assert problem.text.count(column) == 1


def test_the_problem_of_a_duplicate_row_names_the_column_once(tmp_path):
    path = write(tmp_path / "m.csv", [pair(0, record_id=""), pair(0, record_id="")])
    (problem,) = find_problems(Scan(open_manifest(str(path))))
    assert problem.text.startswith("record_id '")
    assert problem.text.endswith("same content as line 2: remove it or give both an id")


def test_errors_are_shown_by_their_message():
    assert safe_text(ValueError("not YAML\nline 3")) == "not YAML"
    assert safe_text(KeyError()) == "KeyError"
    assert safe_text(ValueError("\x1b[31m")) == r"\x1b[31m"
