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


# Flags of JoyVASA, their defaults in src/config/argument_config.py, and the initial values on the page of app.py, which
# passes all other flags with their defaults; then the option here, and the value of the option for each value there.
# Where a flag stands twice, it decides two options.
TRUE_OR_NONE, TRUE_OR_FALSE = {True: "bundle", False: "none"}, {True: True, False: False}
REFERENCE_FLAGS = [
    ("animation_mode", "human", "human", "mode", {"human": "human", "animal": "animal"}),
    ("cfg_scale", 2.8, 4.0, "sampling.cfg_scale", float),
    ("is_smooth_motion", True, True, "smoothing.method", {True: "ema", False: "none"}),
    ("flag_do_crop", False, True, "face.detector", TRUE_OR_NONE),
    ("det_thresh", 0.15, 0.15, "face.threshold", float),
    ("scale", 3.0, 2.3, "crop.scale", float),
    ("vx_ratio", 0, 0.0, "crop.vx_ratio", float),
    ("vy_ratio", -0.125, -0.125, "crop.vy_ratio", float),
    ("flag_do_rot", True, True, "crop.rotate", TRUE_OR_FALSE),
    ("source_max_dim", 1280, 1280, "picture.max_side", int),
    ("source_division", 2, 2, "picture.division", int),
    ("flag_pasteback", False, True, "paste_back", TRUE_OR_FALSE),
    ("flag_stitching", False, True, "driving.stitching", TRUE_OR_FALSE),
    ("flag_relative_motion", False, True, "driving.relative", TRUE_OR_FALSE),
    ("driving_option", "expression-friendly", "expression-friendly", "driving.relative_mode", str),
    ("driving_multiplier", 1.1, 1.0, "driving.multiplier", float),
    ("animation_region", "all", "all", "driving.region", str),
    ("flag_normalize_lip", False, True, "driving.normalize_lip", TRUE_OR_FALSE),
    ("flag_use_half_precision", False, False, "precision", {True: "fp16", False: "fp32"}),
    ("flag_do_torch_compile", False, False, "torch_compile", TRUE_OR_FALSE),
]
# Choices of the reference without a flag: no smallest face; the size of crops; the noise of the sampler; the timing.
REFERENCE_CONSTANTS = {
    "models": "joyvasa", "face.min_side": 0, "face.select": "large-small", "face.index": 0, "crop.size": 512,
    "sampling.sampler": "ancestral", "sampling.flexibility": 0.0, "sampling.dynamic_threshold": None,
    "sampling.timing": "reference", "smoothing.ema_weight": 0.01,
}  # fmt: skip


@pytest.mark.parametrize(("name", "column"), [("joyvasa-cli", 1), ("joyvasa-web", 2)])
def test_presets_have_the_values_of_the_reference_for_every_flag(name, column):
    config = config_to_dict(load_config(AnimationConfig, preset=read_preset(name)))

    for row in REFERENCE_FLAGS:
        convert = row[4].__getitem__ if isinstance(row[4], dict) else row[4]
        assert find_value(config, row[3]) == convert(row[column]), row[0]
    for option, value in REFERENCE_CONSTANTS.items():
        assert find_value(config, option) == value, option


@pytest.mark.parametrize("name", PRESETS)
def test_presets_state_the_value_of_every_flag(name):
    """The defaults of the program may change without a change of what a preset does."""
    expected = {row[3] for row in REFERENCE_FLAGS} - {"mode"} | {"models", "face.min_side", "sampling.timing"}
    assert set(list_leaves(read_preset(name))) == expected


def test_the_table_of_flags_has_the_defaults_of_the_reference():
    cells = {row[0]: row for row in read_flag_table()}
    for flag, default, initial, option, _ in REFERENCE_FLAGS:
        row = cells[f"`{flag}`"]
        assert row[1].lower() == str(default).lower(), flag
        if row[3]:
            assert float(row[3]) == initial if isinstance(initial, float) else row[3] == str(initial).lower(), flag
        else:
            assert default == initial, flag
        assert f"`{option}`" in row[4], flag


def find_value(tree, option):
    for part in option.split("."):
        tree = tree[part]
    return tree


def read_flag_table():
    text = (ROOT / "joyvasa/README.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"<!-- flags of the reference -->\n(.*?)<!-- end of flags -->", text, re.DOTALL)
    return [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()[2:]]


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
    named = {
        name for row in read_flag_table() for name in re.findall(r"`([a-z_.]+)`", row[-1]) if "." in name or "_" in name
    }
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
