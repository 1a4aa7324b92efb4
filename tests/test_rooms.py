"""Imports point downwards, no two modules import each other, and only `pipelines` imports Ray."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("joyvasa", "manifests", "stages", "pipelines")
# From the bottom up: a module imports modules of its own layer and of lower ones.
LAYERS = (
    ("joyvasa.errors", "joyvasa.mode"),
    ("joyvasa.config", "joyvasa.runtime", "joyvasa"),
    ("joyvasa.media",),
    ("joyvasa.networks", "joyvasa.sample.networks", "joyvasa.sample"),
    ("joyvasa.motion", "joyvasa.faces"),
    ("joyvasa.rendering",),
    ("joyvasa.options",),
    ("joyvasa.bundles",),
    ("joyvasa.metrics",),
    ("joyvasa.models", "stages.record_options"),
    ("joyvasa.animator",),
    ("joyvasa.training",),
    ("joyvasa.sample.training",),
    ("joyvasa.sample.measurement",),
    ("manifests",),
    ("joyvasa.sample.training.__main__",),
    ("stages",),
    ("pipelines.engine",),
    ("pipelines.runs", "pipelines.training"),
    ("pipelines.report",),
    ("pipelines.runs.export",),
    ("pipelines.web", "pipelines.bench"),
    ("pipelines.cli",),
    ("pipelines", "joyvasa.__main__"),
)
# Manifests are tables: of the method they use only its errors, its modes, its parsers and its file functions.
MANIFESTS_MAY_IMPORT = (
    "joyvasa.errors",
    "joyvasa.mode",
    "joyvasa.runtime.files",
    "joyvasa.runtime.json_text",
    "joyvasa.runtime.validation",
    "joyvasa.runtime.locations",
    "joyvasa.runtime.parsing",
    "joyvasa.runtime.arrow_text",
    "joyvasa.runtime.result_tables",
)


@cache
def modules() -> dict[str, Path]:
    files = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


@cache
def imports(module: str) -> set[str]:
    """Return the names of everything that a module imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(modules()[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports by a relative name"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_modules(module: str) -> set[str]:
    existing = modules().keys()
    return {name if name in existing else name.rpartition(".")[0] for name in imports(module)} & existing - {module}


def layer_of(module: str) -> int:
    def matches(prefix: str) -> bool:
        return module == prefix or module.startswith(f"{prefix}.")

    return max(
        ((len(prefix), level) for level, prefixes in enumerate(LAYERS) for prefix in prefixes if matches(prefix))
    )[1]


def test_imports_point_downwards():
    upwards = [
        f"{module} imports {other}"
        for module in modules()
        for other in imported_modules(module)
        if layer_of(other) > layer_of(module)
    ]
    assert upwards == []


def test_no_two_modules_import_each_other():
    graph = {module: imported_modules(module) for module in modules()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_manifests_import_little_of_the_method():
    room = [module for module in modules() if layer_of(module) == layer_of("manifests")]
    imported = {other for module in room for other in imported_modules(module)}
    allowed = {other for other in imported if not other.startswith("joyvasa")} | {*MANIFESTS_MAY_IMPORT}
    assert imported <= allowed


def test_only_pipelines_imports_ray_and_nothing_imports_tests():
    for module in modules():
        packages = {name.split(".")[0] for name in imports(module)}
        assert "tests" not in packages, module
        assert module.startswith("pipelines") or "ray" not in packages, module


def test_tests_import_helpers_and_no_other_tests():
    pattern = re.compile(r"^\s*(?:from|import) tests\.(?:\w+\.)*(?:test|bench)_\w+", re.MULTILINE)
    files = (ROOT / "tests").rglob("*.py")
    found = {str(file.relative_to(ROOT)): pattern.findall(file.read_text(encoding="utf-8")) for file in files}
    assert {file: imports for file, imports in found.items() if imports} == {}


def test_help_loads_no_heavy_library():
    heavy = {"torch", "transformers", "cv2", "ray", "huggingface_hub", "pyarrow", "onnxruntime", "pandas", "pydantic"}
    code = f"import sys, pipelines.cli.main; print(*({heavy!r} & sys.modules.keys()))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert loaded.split() == []


@pytest.mark.parametrize(
    ("names", "slow"),
    [
        (
            ("motion", "portrait", "render", "score", "speech"),
            ("pandas", "scipy", "transformers", "matplotlib", "onnxruntime", "huggingface_hub"),
        ),
        (("hash_inputs", "verify_output"), ("torch", "cv2", "pandas", "scipy")),
    ],
)
def test_workers_load_only_what_they_use(names, slow):
    imports = ", ".join(f"stages.{name}" for name in names)
    code = f"import sys, {imports}\nprint(*(name for name in {slow} if name in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert loaded.split() == []


def test_each_stage_lies_in_a_module_of_its_name():
    modules = {}
    for path in (ROOT / "stages").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and node.name.endswith("Stage") and node.name != "Stage":
                modules[path.stem] = re.sub(r"(?<=.)([A-Z])", r"_\1", node.name.removesuffix("Stage")).lower()
    assert len(modules) >= 8
    assert all(module == stage for module, stage in modules.items()), modules
