"""The wheel contains what a run needs, and its commands run from outside of the checkout."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WHEEL = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"][
    "wheel"
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling", reason="hatchling is not installed")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    wheel.extractall(folder)
    return folder


def run(installed, *arguments):
    command = [sys.executable, *arguments]
    environment = os.environ | {"PYTHONPATH": str(installed)}
    return subprocess.run(command, cwd=installed.parent, env=environment, capture_output=True, text=True, timeout=120)


def test_it_contains_every_file_of_the_packages_but_what_trains_the_built_in_model(wheel):
    excluded = tuple(WHEEL["exclude"])
    tracked = subprocess.run(
        ["git", "ls-files", *WHEEL["packages"]], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    expected = {name for name in tracked if not name.startswith(excluded) and (ROOT / name).exists()}
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert expected
    assert expected - names == set()
    assert [name for name in names if name.startswith(excluded) or "__pycache__" in name] == []
    assert {name.split("/")[0] for name in names} == set(WHEEL["packages"])


def test_every_package_declares_that_it_has_types(wheel):
    assert {f"{package}/py.typed" for package in WHEEL["packages"]} <= set(wheel.namelist())


@pytest.mark.slow
def test_its_commands_run_from_outside_of_the_checkout(installed):
    module = run(installed, "-c", "import pipelines; print(pipelines.__file__)").stdout.strip()
    assert module == str(installed / "pipelines/__init__.py")
    assert run(installed, "-m", "joyvasa", "--version").stdout.startswith("joyvasa 0.")
    assert (
        "5 rows, 0 bad"
        in run(installed, "-m", "joyvasa", "validate", str(installed / "manifests/examples/demo.csv")).stdout
    )
    for command in ("animate", "generate", "report", "web", "train", "prepare", "evaluate"):
        result = run(installed, "-m", "joyvasa", command, "--help")
        assert result.returncode == 0, result.stderr
