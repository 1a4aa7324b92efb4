"""The locks pin one OpenCV below 5, one ONNX Runtime, and everything that the project requires, for each Python."""

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
CONTENT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = CONTENT["project"]


PYTHONS = ("3.11", "3.12", "3.13", "3.14")
TOOLS = "requirements-tools.lock"


def pinned(lock: str, python: str = "3.11") -> dict[str, str]:
    """The packages that a lock installs on Linux."""
    linux = {"sys_platform": "linux", "platform_machine": "x86_64", "platform_python_implementation": "CPython"}
    here = {**linux, "implementation_name": "cpython", "python_version": python, "python_full_version": f"{python}.1"}
    lines = (line.partition(" ; ") for line in (ROOT / lock).read_text().splitlines())
    return dict(pin.split("==") for pin, _, marker in lines if not marker or Marker(marker).evaluate(here))


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=! ]", requirement)[0].lower().replace("_", "-") for requirement in requirements}


@pytest.mark.parametrize("lock", ["requirements-cpu.lock", "requirements-gpu.lock"])
def test_there_is_one_opencv_and_one_onnx_runtime(lock):
    packages = pinned(lock)
    assert [name for name in packages if name.startswith("opencv")] == ["opencv-python-headless"]
    runtimes = [name for name in packages if name.startswith("onnxruntime")]
    assert runtimes == ["onnxruntime" if "cpu" in lock else "onnxruntime-gpu"]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_the_lock_contains_what_users_need_and_the_tools_are_extra(kind, python):
    extras = PROJECT["optional-dependencies"]
    users = names([*PROJECT["dependencies"], *CONTENT["dependency-groups"]["insightface"]])
    for extra in extras.keys() - {"cpu", "gpu", "dev", "train-sample"} | {kind}:
        users |= names(extras[extra])
    installed, tools = pinned(f"requirements-{kind}.lock", python), pinned(TOOLS, python)
    assert users <= installed.keys()
    assert names(extras["dev"]) <= installed.keys() | tools.keys()
    assert installed.keys() & tools.keys() == set()
    assert {"pytest", "pytest-xdist", "ruff", "pyright", "moto", "playwright"} <= tools.keys()


def test_every_python_from_3_11_on_is_accepted():
    accepted = SpecifierSet(PROJECT["requires-python"])
    assert [version in accepted for version in ("3.10", *PYTHONS)] == [False, True, True, True, True]


def test_pins_satisfy_the_requirements_of_the_project_so_extras_replace_nothing():
    extras = [
        entry for name, extra in PROJECT["optional-dependencies"].items() if name != "train-sample" for entry in extra
    ]
    packages = pinned("requirements-gpu.lock") | pinned("requirements-cpu.lock") | pinned(TOOLS)
    for requirement in map(Requirement, [*PROJECT["dependencies"], *extras]):
        assert packages[canonicalize_name(requirement.name)] in requirement.specifier, requirement
    accepted = [Requirement(text) for text in requires("gradio") or [] if text.startswith("pillow")]
    bound = next(Requirement(text).specifier for text in PROJECT["dependencies"] if text.startswith("pillow"))
    assert [version in accepted[0].specifier for version in ("12.3.0", "13.0.0")] == [True, False], "loosen the bound"
    assert "13.0.0" not in bound


def test_the_cpu_lock_contains_no_cuda_packages():
    assert not [name for name in pinned("requirements-cpu.lock") if name.startswith(("nvidia", "triton"))]


def test_no_extra_requires_a_second_opencv():
    required = [
        *PROJECT["dependencies"],
        *(name for extra in PROJECT["optional-dependencies"].values() for name in extra),
    ]
    assert not [name for name in required if name.startswith(("insightface", "mediapipe"))]
