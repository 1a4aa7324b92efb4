"""The example in the README of runs does what it shows, from folders to a data set that others load."""

import doctest
import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.cli.main import app

ROOT = Path(__file__).parents[3]
README = (ROOT / "pipelines/runs/README.md").read_text(encoding="utf-8")
EXAMPLE = README.partition("## From folders")[2].partition("## For developers")[0]
CHANGING = (  # what depends on the machine
    (re.compile(r"\d+\.\d s\b"), "N s"),
    (re.compile(r"\d+% full"), "N% full"),
    (re.compile(r"[\d,]+ bytes"), "N bytes"),
)
pytestmark = pytest.mark.slow


def normalize(text, folder):
    text = text.replace(str(folder), "/home/me")
    for pattern, replacement in CHANGING:
        text = pattern.sub(replacement, text)
    return text.splitlines()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder in which all commands ran, with the commands and their output."""
    folder = tmp_path_factory.mktemp("example")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shown = re.findall(r"^\$ (.*(?:\\\n.*)*)\n((?:(?!\$ |```).*\n)*)", EXAMPLE, flags=re.MULTILINE)
        results = []
        for command, output in shown:
            program, *arguments = shlex.split(command)
            if program == "mkdir":
                for name in arguments:
                    Path(name).mkdir()
            elif program == "cp":
                for source in arguments[:-1]:
                    shutil.copy(ROOT / source, arguments[-1])
            else:
                result = CliRunner().invoke(app, arguments)
                assert result.exit_code == 0, result.output
                results.append((command, output, result.output))
    return folder, results


def test_the_commands_print_what_the_readme_shows(folder):
    path, results = folder
    assert len(results) == 5
    for command, shown, printed in results:
        lines = iter(normalize(printed, path))
        missing = [line for line in normalize(shown, path) if line not in lines]  # in this order
        assert missing == [], (command, printed)


def test_the_table_of_pairs_is_the_one_shown(folder):
    import pandas as pd

    rows = pd.read_parquet(folder[0] / "pairs.parquet").astype(str).to_numpy().tolist()
    (table,) = re.findall(r"```text\n(.*?)```", EXAMPLE, flags=re.DOTALL)
    shown = [[float(cell) if cell[0].isdigit() else cell for cell in line.split()] for line in table.splitlines()[1:]]
    assert shown == [[*row[:4], *map(float, row[4:])] for row in rows]


def test_the_data_set_loads_as_the_readme_shows(folder, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="not installed: pip install datasets")
    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.chdir(folder[0])
    (block,) = re.findall(r"```python\n(.*?)```", EXAMPLE, flags=re.DOTALL)
    test = doctest.DocTestParser().get_doctest(block, {}, "example", None, 0)
    assert doctest.DocTestRunner().run(test).failed == 0
