"""Shared options: help texts state the real defaults, and flags, --set and --config are merged."""

import json
import re
from collections.abc import Mapping
from dataclasses import is_dataclass
from importlib import import_module
from typing import get_args, get_origin, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from joyvasa.errors import ConfigError, JoyvasaError
from joyvasa.options import AnimationConfig
from joyvasa.training.config import TrainingConfig
from pipelines.bench.bench import MEASURES
from pipelines.cli.main import app
from pipelines.cli.options import CLASSES, merge_options
from pipelines.runs.config import RunConfig

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
# The setting of each flag, by the configuration class of the command.
SETTINGS = {
    AnimationConfig: {name: name for name in ("models", "mode", "seed", "device", "precision")},
    RunConfig: {
        "models": "animation.models",
        "seed": "animation.seed",
        "executor": "executor",
        "shard_size": "shard_size",
    },
    TrainingConfig: {name: name for name in ("steps", "seed", "device", "precision")},
}


def configuration_class(command):
    module, name = CLASSES[command]
    return getattr(import_module(module), name)


def stated_defaults():
    """Yield command, option and default for each default in a help text."""
    for command, group in COMMANDS.items():
        for option in group.params if command in CLASSES else ():
            stated = re.search(r"\(default: ([\w.]+)\)|(\w+) \(default\)", option.help or "")
            if stated and not (command == "bench" and option.name == "models"):  # benchmark bundle
                yield command, option.name, stated[1] or stated[2]


@pytest.mark.parametrize(("command", "option", "default"), list(stated_defaults()))
def test_help_states_the_default_of_the_configuration(command, option, default):
    kind = configuration_class(command)
    value = kind()
    for name in SETTINGS[kind][option].split("."):
        value = getattr(value, name)
    assert str(value) == default


def test_help_states_the_default_of_every_flag():
    stated = {(command, option) for command, option, _ in stated_defaults()}
    for command in CLASSES.keys() - {"plan", "bench"}:
        settings = SETTINGS[configuration_class(command)]
        flags = {option.name for option in COMMANDS[command].params} & settings.keys()
        assert {name for name in flags if (command, name) not in stated} == set(), command


def test_help_of_bench_names_every_section():
    (only,) = [option for option in COMMANDS["bench"].params if option.name == "only"]
    assert f": {', '.join(MEASURES)}." in only.help


def test_flags_override_settings_and_settings_override_the_file(tmp_path):
    file = tmp_path / "options.yaml"
    file.write_text("seed: 1\nmodels: random\nprecision: bf16\n")
    flags = {"seed": 3, "models": "2024", "device": None}
    config = merge_options(AnimationConfig, config=file, settings=["seed=2", "device=cpu"], flags=flags)
    assert (config.seed, config.models, config.precision, config.device) == (3, "2024", "bf16", "cpu")
    assert merge_options(AnimationConfig) == AnimationConfig()
    with pytest.raises(ConfigError, match="config_unknown_option"):
        merge_options(AnimationConfig, settings=["sed=2"])


@pytest.mark.parametrize("text", ["𠮷 😀", "a\udcff", "a\u2028b", "null", "3", "[", "yes: no"])
def test_the_value_of_a_flag_is_taken_as_it_is(text):
    config = merge_options(RunConfig, flags={"animation.models": text, "where": [text]})
    assert (config.animation.models, config.where) == (text, (text,))


@pytest.mark.parametrize("command", CLASSES)
def test_options_of_each_command_are_printed_and_read_back(tmp_path, command):
    assert command in COMMANDS
    first = CliRunner().invoke(app, ["options", command])
    assert first.exit_code == 0, first.output
    (tmp_path / "options.yaml").write_text(first.stdout)
    repeated = CliRunner().invoke(app, ["options", command, "--config", str(tmp_path / "options.yaml")])
    assert repeated.stdout == first.stdout


def test_options_can_be_printed_as_a_schema():
    result = CliRunner().invoke(app, ["options", "generate", "--schema", "--set", "shard_size=7"])
    schema = json.loads(result.stdout)
    assert schema["default"]["shard_size"] == 7
    assert schema["properties"]["determinism"]["enum"] == ["fast", "strict"]
    assert schema["properties"]["animation"]["$ref"].startswith("#/$defs/")


def test_options_of_an_unknown_command_are_refused():
    result = CliRunner().invoke(app, ["options", "validate"])
    assert result.exit_code == 2
    assert "expected one of animate" in " ".join(result.output.replace("│", " ").split())


def list_options(kind, prefix=""):
    """Yield the names of all options, with those nested in them."""
    for name, hint in get_type_hints(kind).items():
        inner, path = hint, f"{prefix}{name}"
        if get_origin(hint) is Mapping:
            inner, path = get_args(hint)[1], f"{path}.render"
        yield path
        if is_dataclass(inner):
            yield from list_options(inner, f"{path}.")


@pytest.mark.parametrize("kind", [RunConfig, TrainingConfig])
def test_wrong_values_are_refused_in_plain_words(kind):
    own_words = re.compile(r"literal\[|union|tuple\[|Input should|datetime|\bclass\b|\n")
    for name in list_options(kind):
        for value in ("nothing", "[[1], {a: b}]", "{a: 1}", "-1", "2026-01-01"):
            sentence = ""
            try:
                merge_options(kind, settings=[f"{name}={value}"])
            except JoyvasaError as error:  # anything else is a traceback for the user
                sentence = error.sentence
            assert not own_words.search(sentence), f"{name}={value}: {sentence}"


# A command that takes --set, its other arguments, and what stands before the options of an animation.
SETTERS = [
    ("animate", ["a.png", "b.wav", "-o", "c.mp4"], ""),
    ("options", ["animate"], ""),
    ("options", ["bench"], "animation."),
    ("motion extract", ["a.mp4", "-o", "a.safetensors"], ""),
    ("web", ["runs"], ""),
    ("generate", ["pairs.csv", "--out", "run"], "animation."),
    ("generate", ["pairs.csv", "--out", "run", "--dry-run"], "animation."),
    ("evaluate", ["videos.csv", "--out", "run", "--name", "other"], "animation."),
    ("prepare", ["videos", "--out", "data"], "animation."),
    ("plan", ["pairs.csv", "--measure"], "animation."),
    ("plan", ["pairs.csv"], "animation."),
    ("validate", ["pairs.csv"], "animation."),
    ("bench", [], "animation."),
    ("bench", ["--quick", "--models", "sample"], "animation."),
    ("train", ["data", "--out", "training"], None),
]
WRONG_SETTINGS = [
    (["{}crop.scal=2"], "no option {}crop.scal; did you mean {}crop.scale?"),
    (["{}cfg_scale=2"], "no option {}cfg_scale; did you mean {}sampling.cfg_scale?"),
    (["{}crop.scale=wide"], "{}crop.scale is 'wide'; expected a number"),
    (["{}crop.scale=[1, 2]"], "{}crop.scale is [1, 2]; expected a number"),
    (["{}crop.scale={a: 1}"], "{}crop.scale is {'a': 1}; expected a number"),
    (["{}crop=1"], "{}crop is 1; expected a mapping of options"),
    (["{}smile=7"], "{}smile is 7; expected at most 1.3"),
    (["{}driving.lip_indices=3"], "{}driving.lip_indices is 3; expected a list"),
    (["{}seed=1", "{}seed=2"], "--set {}seed=2: {}seed is set twice, the other time by --set {}seed=1; expected one"),
    (["{}seed"], "--set {}seed: no '='; expected key=value"),
    (["{}seed=["], "--set {}seed=[: not valid YAML"),
    (["=1"], "no option ; expected one of"),
]
WRONG_TRAINING_SETTINGS = [
    (["step=2"], "no option step; did you mean steps?"),
    (["steps=many"], "steps is 'many'; expected a whole number"),
    (["steps=[1]"], "steps is [1]; expected a whole number"),
    (["steps=-1"], "steps"),
    (["loss=1"], "loss is 1; expected a mapping of options"),
    (["seed=1", "seed=2"], "seed is set twice"),
]


@pytest.mark.parametrize(("command", "arguments", "prefix"), SETTERS)
def test_wrong_settings_are_refused_by_every_command_before_it_starts(
    tmp_path, monkeypatch, command, arguments, prefix
):
    monkeypatch.chdir(tmp_path)
    for settings, words in WRONG_TRAINING_SETTINGS if prefix is None else WRONG_SETTINGS:
        only_animation = command == "validate" or (command, len(arguments)) == ("plan", 1)
        if only_animation and "{}" not in settings[0]:
            continue
        given = [part for setting in settings for part in ("--set", setting.replace("{}", prefix or ""))]
        error = CliRunner().invoke(app, [*command.split(), *arguments, *given]).exception
        assert isinstance(error, ConfigError), (given, error)
        assert words.replace("{}", prefix or "") in error.sentence
        assert error.sentence.isprintable()
    assert not any(tmp_path.iterdir())


def test_every_command_with_settings_is_tested():
    groups = {name: getattr(command, "commands", {"": command}) for name, command in COMMANDS.items()}
    found = {f"{name} {inner}".strip() for name, group in groups.items() for inner, command in group.items()
             if any("--set" in option.opts for option in command.params)}  # fmt: skip
    assert found == {command for command, _, _ in SETTERS}


@pytest.mark.parametrize(("value", "code"), [("s3://bucket/name", "path_remote"), ("", "path_empty")])
@pytest.mark.parametrize(
    "command",
    [
        "animate",
        "animate a.png --motion",
        "bench --out",
        "bundle run --out",
        "bundle run --out bundle --published",
        "demo --out",
        "demo --media",
        "models convert joyvasa --out",
        "motion convert",
        "motion extract a.mp4 --sound",
        "options --config",
        "web",
        "web . --password-file",
    ],
)
def test_an_address_or_nothing_is_no_local_path(command, value, code, tmp_path, monkeypatch):
    """As a path, an address would be a folder `s3:`, and nothing would be the working directory."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [*command.split(), value, *(["b.npz"] if command == "motion convert" else [])])
    assert isinstance(result.exception, JoyvasaError)
    assert result.exception.code == code
    assert not any(tmp_path.iterdir())
