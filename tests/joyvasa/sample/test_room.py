"""No other code depends on the training and measurement of the built-in model."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
APART = ("joyvasa.sample.training", "joyvasa.sample.measurement")


def imported_modules(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def test_nothing_else_imports_the_training_or_the_measurement_of_the_built_in_model():
    imports = []
    for room in ("joyvasa", "stages", "manifests", "pipelines"):
        for file in (ROOT / room).rglob("*.py"):
            if (
                not file.relative_to(ROOT)
                .as_posix()
                .startswith(("joyvasa/sample/training/", "joyvasa/sample/measurement/"))
            ):
                imports += [(file.name, name) for name in imported_modules(file) if name.startswith(APART)]
    assert imports == []


def test_training_and_measurement_are_not_in_the_wheel():
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "joyvasa" in wheel["packages"]
    assert set(wheel["exclude"]) >= {name.replace(".", "/") for name in APART}
    assert all((ROOT / name.replace(".", "/") / "__init__.py").is_file() for name in APART)


@pytest.mark.slow
def test_the_training_has_a_command():
    command = [sys.executable, "-m", "joyvasa.sample.training"]
    output = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(option in output for option in ("--out", "--part", "--threads", "--device", "--unseen"))
    rejected = subprocess.run(
        [*command, "media", "--part", "all"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert rejected.returncode == 2
    assert "keypoints, renderer, painter, speech, sounds, motion" in " ".join(rejected.stderr.replace("│", "").split())
