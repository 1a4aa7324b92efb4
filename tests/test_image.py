"""The Dockerfile copies files that exist, installs the GPU lock, and runs `joyvasa` as an ordinary user."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from pipelines.cli.main import app

ROOT = Path(__file__).parents[1]
LOCK, EXTRAS = "requirements-gpu.lock", "requirements-extras.lock"
LINES = [
    line.split(maxsplit=1)
    for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    if line and not line.startswith("#")
]
COPIED = [source for name, rest in LINES if name == "COPY" for source in rest.split()[:-1]]
IGNORED = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")


def values(instruction):
    return [rest for name, rest in LINES if name == instruction]


def test_copied_files_exist_and_are_sent_to_the_builder():
    assert [source for source in COPIED if not (ROOT / source).exists()] == []
    assert IGNORED[1] == "*"
    assert sorted(COPIED) == sorted(line[1:] for line in IGNORED if line.startswith("!"))


def test_what_the_package_consists_of_is_copied():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    license_files, readme = project["project"]["license-files"], project["project"]["readme"]
    assert sorted([*packages, *license_files, readme, "pyproject.toml", LOCK, EXTRAS]) == sorted(COPIED)


def test_the_locks_alone_are_installed_and_torch_with_them():
    installed = [line for line in values("RUN") if "uv pip install" in line]
    assert len(installed) == 2
    assert all("--no-deps" in line for line in installed)
    assert f"--requirements /opt/joyvasa/{LOCK} --requirements /opt/joyvasa/{EXTRAS}" in " ".join(installed[0].split())
    assert re.search(r"(?m)^torch==", (ROOT / LOCK).read_text())
    assert re.search(r"(?m)^nvidia-cudnn", (ROOT / LOCK).read_text())


def test_the_python_of_the_image_is_supported():
    (image,) = values("FROM")
    assert re.fullmatch(r"python:3\.1[1-4]-slim-\w+", image)


def test_it_runs_as_a_user_whose_number_kubernetes_can_check_and_who_owns_the_models():
    names = [name for name, _ in LINES]
    assert values("USER") == ["1000"]
    (create_user,) = [line for line in values("RUN") if "useradd" in line]
    assert "--uid 1000 joyvasa" in create_user
    assert "--owner joyvasa /models" in create_user
    assert "JOYVASA_MODELS=/models" in " ".join(values("ENV"))
    assert names.index("USER") < names.index("ARG")  # models are fetched by this user


def test_the_entry_point_is_the_command_line_and_models_are_optional():
    assert values("ENTRYPOINT") == ['["joyvasa"]']
    assert values("ARG") == ['MODELS=""']
    assert values("RUN")[-1] == 'test -z "$MODELS" || joyvasa models fetch "$MODELS"'
    assert "models" in [group.name for group in app.registered_groups]


@pytest.mark.parametrize("tool", ["openssh-client", "rsync", "wget", "gcc"])
def test_tools_that_ray_and_torch_call_are_installed(tool):
    assert tool in values("RUN")[0].split()


def test_the_cluster_file_and_the_job_of_kubernetes_use_the_image():
    cluster = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    image = f"REGISTRY/{project['name']}:{project['version']}"
    assert cluster["docker"]["image"] == image
    assert image in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    readme = (ROOT / "pipelines/README.md").read_text(encoding="utf-8")
    (job,) = [block for block in re.findall(r"(?s)```yaml\n(.*?)```", readme) if "RayJob" in block]
    ray_cluster = yaml.safe_load(job)["spec"]["rayClusterSpec"]
    groups = [ray_cluster["headGroupSpec"], *ray_cluster["workerGroupSpecs"]]
    images = {c["image"] for group in groups for c in group["template"]["spec"]["containers"]}
    assert images == {image}
    assert f"ray=={ray_cluster['rayVersion']}" in (ROOT / LOCK).read_text().split()
