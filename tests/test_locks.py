"""The locks pin one OpenCV, one ONNX Runtime, and everything that the project requires, for each Python."""

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
EXTRAS, TOOLS = "requirements-extras.lock", "requirements-tools.lock"
LARGE = {"s3", "cluster", "web", "insightface"}  # extras that `make extras` installs


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
    assert packages["opencv-python-headless"] in SpecifierSet("<5")  # pyproject.toml says why
    runtimes = [name for name in packages if name.startswith("onnxruntime")]
    assert runtimes == ["onnxruntime" if "cpu" in lock else "onnxruntime-gpu"]
    assert not [name for name in pinned(EXTRAS) if name.startswith(("opencv", "onnxruntime", "torch", "nvidia"))]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_the_locks_contain_what_users_need_then_large_extras_then_tools(kind, python):
    extras = PROJECT["optional-dependencies"]
    users = names(PROJECT["dependencies"])
    for extra in extras.keys() - {"cpu", "gpu", "dev", "train-sample"} - LARGE | {kind}:
        users |= names(extras[extra])
    optional = names(CONTENT["dependency-groups"]["insightface"])
    for extra in LARGE:
        optional |= names(extras[extra])
    installed, added = pinned(f"requirements-{kind}.lock", python), pinned(EXTRAS, python)
    tools = pinned(TOOLS, python)
    assert users <= installed.keys()
    assert optional <= installed.keys() | added.keys()
    assert names(extras["dev"]) <= installed.keys() | added.keys() | tools.keys()
    assert (installed.keys() | added.keys()) & tools.keys() == set()
    assert {name: pin for name, pin in added.items() if installed.get(name, pin) != pin} == {}
    assert {"pytest", "pytest-xdist", "ruff", "pyright", "moto", "playwright"} <= tools.keys()


def test_users_get_no_large_packages_that_only_some_need():
    large = {"gradio", "scipy", "matplotlib", "scikit-image", "onnx", "botocore", "uv", "insightface"}
    assert large & pinned("requirements-cpu.lock").keys() == set()


def test_every_python_from_3_11_on_is_accepted():
    accepted = SpecifierSet(PROJECT["requires-python"])
    assert [version in accepted for version in ("3.10", *PYTHONS)] == [False, True, True, True, True]


def test_pins_satisfy_the_requirements_of_the_project_so_extras_replace_nothing():
    extras = [
        entry for name, extra in PROJECT["optional-dependencies"].items() if name != "train-sample" for entry in extra
    ]
    packages = pinned("requirements-gpu.lock") | pinned("requirements-cpu.lock") | pinned(EXTRAS) | pinned(TOOLS)
    for requirement in map(Requirement, [*PROJECT["dependencies"], *extras]):
        assert packages[canonicalize_name(requirement.name)] in requirement.specifier, requirement


@pytest.mark.parametrize(
    ("extra", "package", "accepted", "refused"),
    [("gradio", "pillow", "12.3.0", "13.0.0"), ("botocore", "python-dateutil", "2.9.0", "4.0.0")],
)
def test_what_an_extra_refuses_is_never_installed_before_it(extra, package, accepted, refused):
    theirs, ours = (
        next(entry.specifier for entry in map(Requirement, texts) if canonicalize_name(entry.name) == package)
        for texts in (requires(extra) or [], PROJECT["dependencies"])
    )
    assert [version in theirs for version in (accepted, refused)] == [True, False], "loosen the bound"
    assert [version in ours for version in (accepted, refused)] == [True, False]


def test_the_cpu_lock_contains_no_cuda_packages():
    assert not [name for name in pinned("requirements-cpu.lock") if name.startswith(("nvidia", "triton"))]


def test_no_extra_requires_a_second_opencv():
    required = [
        *PROJECT["dependencies"],
        *(name for extra in PROJECT["optional-dependencies"].values() for name in extra),
    ]
    assert not [name for name in required if name.startswith(("insightface", "mediapipe"))]
