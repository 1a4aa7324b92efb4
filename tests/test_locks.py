"""The locks pin one OpenCV below 5, one ONNX Runtime, and everything that the project requires."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONTENT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = CONTENT["project"]


def pinned(lock: str) -> dict[str, str]:
    lines = (ROOT / lock).read_text().splitlines()
    pairs = [line.split(" ;")[0].split("==") for line in lines if "==" in line]
    return {name.split("[")[0].lower().replace("_", "-"): version for name, version in pairs}


@pytest.mark.parametrize("lock", ["requirements-cpu.lock", "requirements-gpu.lock"])
def test_there_is_one_opencv_below_5_and_one_onnx_runtime(lock):
    packages = pinned(lock)
    assert [name for name in packages if name.startswith("opencv")] == ["opencv-python-headless"]
    assert int(packages["opencv-python-headless"].split(".")[0]) < 5
    runtimes = [name for name in packages if name.startswith("onnxruntime")]
    assert runtimes == ["onnxruntime" if "cpu" in lock else "onnxruntime-gpu"]


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_the_lock_contains_everything_that_the_project_requires(kind):
    extras = PROJECT["optional-dependencies"]
    groups = CONTENT["dependency-groups"]
    required = [*PROJECT["dependencies"], *extras[kind], *extras["dev"], *extras["insightface"], *groups["insightface"]]
    names = {re.split(r"[\[<>=! ]", requirement)[0].lower().replace("_", "-") for requirement in required}
    assert names <= set(pinned(f"requirements-{kind}.lock"))


def test_the_cpu_lock_contains_no_cuda_packages():
    assert not [name for name in pinned("requirements-cpu.lock") if name.startswith(("nvidia", "triton"))]


def test_no_extra_requires_a_second_opencv():
    required = [
        *PROJECT["dependencies"],
        *(name for extra in PROJECT["optional-dependencies"].values() for name in extra),
    ]
    assert not [name for name in required if name.startswith(("insightface", "mediapipe"))]
