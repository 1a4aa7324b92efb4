"""Presets reproduce the reference, and the table of its flags names options that exist."""

import re
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from joyvasa.config import config_to_dict, load_config
from joyvasa.errors import ConfigError
from joyvasa.options import AnimationConfig
from joyvasa.presets import FOLDER, PRESETS, read_preset
from pipelines.cli.main import app
from pipelines.cli.options import merge_options
from pipelines.runs.config import RunConfig

ROOT = Path(__file__).parents[2]


def list_options(config, prefix=""):
    for field in fields(config):
        value = getattr(config, field.name)
        yield from list_options(value, f"{prefix}{field.name}.") if is_dataclass(value) else [f"{prefix}{field.name}"]


def test_every_file_is_a_preset():
    assert sorted(file.stem for file in FOLDER.glob("*.yaml")) == sorted(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_holds_for_a_pair_and_for_a_run(name):
    pair = merge_options(AnimationConfig, preset=name)
    assert pair.sampling.timing == "reference"
    assert pair.models == "joyvasa"
    assert merge_options(RunConfig, preset=name).animation == pair


def test_presets_have_the_defaults_of_the_command_line_and_of_the_page():
    cli, web = (load_config(AnimationConfig, preset=read_preset(name)) for name in PRESETS)
    assert (cli.face.detector, cli.paste_back, cli.sampling.cfg_scale, cli.crop.scale) == ("none", False, 2.8, 3.0)
    assert (cli.driving.stitching, cli.driving.relative, cli.driving.multiplier) == (False, False, 1.1)
    assert (web.face.detector, web.paste_back, web.sampling.cfg_scale, web.crop.scale) == ("bundle", True, 4.0, 2.3)
    assert (web.driving.stitching, web.driving.relative, web.driving.multiplier) == (True, True, 1.0)
    assert (web.driving.normalize_lip, web.driving.relative_mode) == (True, "expression-friendly")


def test_a_preset_is_applied_before_the_file_and_the_settings(tmp_path):
    file = tmp_path / "options.yaml"
    file.write_text("sampling: {cfg_scale: 1.5}\ncrop: {scale: 2.0}\n")
    settings = ["crop.scale=1.9", "driving.normalize_lip=false", "mode=animal"]
    config = merge_options(
        AnimationConfig, preset="joyvasa-web", config=file, settings=settings, flags={"models": "sample"}
    )
    assert (config.sampling.cfg_scale, config.crop.scale, config.driving.multiplier) == (1.5, 1.9, 1.0)
    assert (config.models, config.mode) == ("sample", "animal")


def test_an_unknown_preset_is_refused_with_its_likely_name():
    with pytest.raises(
        ConfigError, match=r"preset_unknown: preset 'joyvasa_web' is unknown; did you mean joyvasa-web\?"
    ):
        read_preset("joyvasa_web")
    for command in (["animate", "a.png", "b.wav"], ["generate", "m.csv", "--out", "run"]):
        result = CliRunner().invoke(app, [*command, "--preset", "other"])
        assert isinstance(result.exception, ConfigError)


def test_the_table_of_flags_names_options_that_exist():
    text = (ROOT / "joyvasa/README.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"<!-- flags of the reference -->\n(.*?)<!-- end of flags -->", text, re.DOTALL)
    rows = [[cell.strip() for cell in line.strip("| \n").split(" | ")] for line in table.splitlines()[2:]]
    named = {name for row in rows for name in re.findall(r"`([a-z_.]+)`", row[-1]) if "." in name or "_" in name}
    assert named - {"scale_and_translation"} <= set(list_options(AnimationConfig()))

    # What a preset sets is in the table, except for what no flag of the reference changes.
    for name in PRESETS:
        options = {option for option in list_leaves(read_preset(name))}
        assert options - {"models", "sampling.timing", "face.min_side"} <= named | {"mode", "device", "precision"}


def list_leaves(tree, prefix=""):
    for key, value in tree.items():
        yield from list_leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]


def test_a_preset_is_stored_with_the_options_of_a_run():
    config = merge_options(RunConfig, preset="joyvasa-cli")
    assert config_to_dict(config)["animation"]["driving"]["multiplier"] == 1.1
    assert replace(config, animation=AnimationConfig()) == RunConfig()
