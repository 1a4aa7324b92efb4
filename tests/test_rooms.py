"""The rooms import one way: manifests and joyvasa know nobody, stages knows both, pipelines knows all."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "manifests": {"manifests"},
    "joyvasa": {"joyvasa"},
    "stages": {"stages", "joyvasa", "manifests"},
    "pipelines": {"pipelines", "stages", "joyvasa", "manifests"},
}


def imported_packages(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
    return found


def all_modules() -> list[Path]:
    return [file for room in MAY_IMPORT for file in sorted((ROOT / room).rglob("*.py"))]


@pytest.mark.parametrize("file", all_modules(), ids=lambda file: str(file.relative_to(ROOT)))
def test_a_room_imports_only_the_rooms_below_it(file):
    room = file.relative_to(ROOT).parts[0]
    packages = imported_packages(file)
    assert packages & set(MAY_IMPORT) <= MAY_IMPORT[room]
    if room != "pipelines":
        assert "ray" not in packages
    assert "tests" not in packages


@pytest.mark.parametrize("heavy", ["torch", "transformers", "cv2", "ray", "huggingface_hub", "pyarrow", "onnxruntime"])
def test_help_loads_no_heavy_library(heavy):
    code = f"import sys, pipelines.cli.main; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
