"""The READMEs explain every option, name only what exists, and their commands run as written."""

import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import fields, is_dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from joyvasa.errors import JoyvasaError
from joyvasa.options import AnimationConfig
from joyvasa.training.config import TrainingConfig
from pipelines.cli.main import app
from pipelines.engine.config import EngineConfig
from pipelines.runs.config import RayOptions, RunConfig, StageOptions
from tests.readme_tables import ROOMS, fill_tables, find_stages

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FILES = (ROOT / "README.md", *(file for room in (*ROOMS, "tests") for file in sorted((ROOT / room).rglob("README.md"))))
TEXTS = {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in FILES}
UNION = "\n".join(TEXTS.values())
COMMAND = re.compile(r"^(?:\$ |.* -- )?(joyvasa .*)", re.MULTILINE)
FAST = ("validate", "plan")  # a second or less; `animate` is fast where it is refused


def option_names(config: object, prefix: str = "") -> list[str]:
    names = []
    for field in fields(config):
        value = getattr(config, field.name)
        name = f"{prefix}{field.name}"
        names += option_names(value, f"{name}.") if is_dataclass(value) else [name]
    return names


def code_blocks(text: str) -> list[str]:
    """The blocks without a language: commands, and what they print. Continued lines are joined."""
    return [
        re.sub(r"\\\n *", "", block) for block in re.findall(r"^ *```\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    ]


def commands(text: str) -> list[str]:
    return [match[1] for block in code_blocks(text) for match in COMMAND.finditer(block)]


def sessions() -> dict[str, str]:
    """Commands of the root README that show what they print, with it."""
    parts = [part for block in code_blocks(README) for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return dict(part.split("\n", 1) for part in parts)


def heading_anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")


def test_every_option_is_explained():
    assert [name for name in option_names(AnimationConfig()) if f"`{name}`" not in UNION] == []


def test_every_option_of_training_is_explained():
    assert [
        name for name in option_names(TrainingConfig()) if f"`{name}`" not in TEXTS["joyvasa/training/README.md"]
    ] == []


def test_every_explained_option_exists():
    existing = {*option_names(AnimationConfig()), *option_names(TrainingConfig()), *option_names(RunConfig())}
    existing |= {f"stages.NAME.{field.name}" for field in fields(StageOptions)}
    tables = re.findall(r"^\| option \|.*\n\|[-| ]+\|\n((?:\|.*\n)+)", UNION, re.MULTILINE)
    cells = [row.split("|")[1] for table in tables for row in table.splitlines()]
    explained = {name for cell in cells for name in re.findall(r"`([a-zA-Z_.0-9]+)`", cell)}
    assert explained
    assert explained <= existing


def test_every_option_of_a_run_is_explained():
    names = [
        field.name for field in fields(RunConfig) if field.name not in ("animation", "stages", "engine", "ray", "clips")
    ]
    names += [f"stages.NAME.{name}" for name in ("batch_size", "workers", "num_cpus", "num_gpus", "time_limit_s")]
    names += [f"engine.{field.name}" for field in fields(EngineConfig)]
    names += [f"ray.{field.name}" for field in fields(RayOptions)]
    names += [f"clips.{field.name}" for field in fields(RunConfig().clips)]
    assert [name for name in names if f"`{name}`" not in UNION] == []


@pytest.mark.parametrize("name", TEXTS)
def test_tables_equal_what_is_generated(name):
    assert fill_tables(TEXTS[name]) == TEXTS[name], "run python -m tests.readme_tables"


def test_every_stage_is_explained():
    assert [stage.name for stage in find_stages() if f"`{stage.name}`" not in TEXTS["stages/README.md"]] == []


@pytest.mark.parametrize("name", TEXTS)
def test_the_files_that_it_shows_exist(name):
    links = re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", TEXTS[name])
    for target, anchor in links:
        file = (ROOT / name).parent / target if target else ROOT / name
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(heading_anchor, headings), f"{target}#{anchor}"


def test_the_root_readme_is_short():
    assert len(README.splitlines()) < 200


@pytest.mark.parametrize(("name", "command"), [(name, line) for name, text in TEXTS.items() for line in commands(text)])
def test_commands_are_accepted_as_written(name, command):
    _, *arguments = shlex.split(command, comments=True)
    group, path = typer.main.get_command(app), "joyvasa"
    context = group.make_context(path, arguments[:1], resilient_parsing=True)  # type: ignore[attr-defined]
    while hasattr(group, "commands"):
        path, arguments = arguments[0], arguments[1:]
        group = group.commands[path]
    group.make_context(path, arguments, parent=context)


@pytest.mark.parametrize(
    "command", [line for line in sessions() if line.split()[1] in FAST or "error:" in sessions()[line]]
)
def test_commands_print_what_the_readme_shows(tmp_path, monkeypatch, command):
    (tmp_path / "manifests").symlink_to(ROOT / "manifests")
    monkeypatch.chdir(tmp_path)

    result = CliRunner().invoke(app, shlex.split(command)[1:])
    printed = result.stdout
    if isinstance(result.exception, JoyvasaError):
        printed += f"error: {result.exception}\n"

    assert printed == sessions()[command]


@pytest.mark.slow
def test_long_commands_print_what_the_readme_shows_in_their_order(tmp_path):
    """Times, sizes of files and how full batches were differ between machines."""
    (tmp_path / "manifests").symlink_to(ROOT / "manifests")

    def normalize(text: str) -> list[str]:
        text = re.sub(r"[\d,.]+(?= s\b|% full| bytes)", "N", text.replace(str(tmp_path), "/home/me"))
        return [" ".join(line.split()) for line in text.splitlines()]

    run = 0
    for command, shown in sessions().items():
        arguments = shlex.split(command, comments=True)[1:]
        if arguments[0] in FAST or "error:" in shown:
            continue
        process = [sys.executable, "-m", "joyvasa", *arguments]
        result = subprocess.run(process, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        notes = "\n".join(re.findall("^note: .*\n", result.stderr, re.MULTILINE))
        stages = "\n".join(re.findall("^  .* computed, .*", result.stderr, re.MULTILINE))  # not on standard output
        assert normalize(notes + result.stdout + stages) == normalize(shown), command
        run += 1
    assert run == 5


def test_targets_modules_and_tests_that_it_names_exist():
    code = "\n".join(re.findall(r"`[^`\n]+`", UNION) + [line for text in TEXTS.values() for line in code_blocks(text)])
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"\bmake ([\w-]+)", code)) <= set(targets)
    assert [name for name in re.findall(r"python -m ([\w.]+)", code) if not find_spec(name)] == []
    assert [path for path in re.findall(r"\btests/[\w/.]+", code) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", TEXTS)
def test_source_files_that_it_names_exist(name):
    text, folder = re.sub(r"```python.*?```", "", TEXTS[name], flags=re.DOTALL), (ROOT / name).parent
    files = [file for file in re.findall(r"`([\w/]+\.py)`", text) if not re.search(r"\b(my_detector|nodding)\b", file)]
    assert [file for file in files if not any((base / file).exists() for base in (folder, ROOT))] == []


@pytest.mark.parametrize("name", TEXTS)
def test_names_that_its_python_blocks_import_exist(name):
    blocks = re.findall(r"^```python\n(.*?)^```$", TEXTS[name], re.MULTILINE | re.DOTALL)
    for line in re.findall(r"^(?:from [\w.]+ )?import .*", "\n".join(blocks), re.MULTILINE):
        exec(line, {})


@pytest.mark.parametrize("name", TEXTS)
def test_members_of_classes_that_it_names_exist(name):
    sources = [file.read_text(encoding="utf-8") for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]
    for kind, member in re.findall(r"`([A-Z][a-z]\w+)\.(\w+)(?:\(.*?\))?`", TEXTS[name]):
        defining = [text for text in sources if re.search(rf"^class {kind}\b", text, re.MULTILINE)]
        member_line = re.compile(rf"^    (?:def |async def )?{member}\b", re.MULTILINE)
        assert any(member_line.search(text) for text in defining), f"{name} names {kind}.{member}"


def test_extras_that_it_names_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(re.findall(r"joyvasa\[([\w-]+)\]", UNION)) <= extras.keys()
