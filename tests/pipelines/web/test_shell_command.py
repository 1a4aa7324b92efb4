"""The shell command makes the same video as the page."""

import shlex

import pytest

from joyvasa.config import load_config
from joyvasa.options import AnimationConfig
from pipelines.web.shell_command import build_animate_command

NAMES = {"portrait": "me.jpg", "sound": "talk.wav"}


def test_defaults_are_omitted():
    assert build_animate_command(NAMES, AnimationConfig()) == "joyvasa animate me.jpg talk.wav -o out.mp4"


def test_a_motion_replaces_the_sound_or_goes_with_it():
    moved = build_animate_command({"portrait": "me.jpg", "motion": "-d.mp4"}, AnimationConfig())
    assert moved == "joyvasa animate me.jpg --motion ./-d.mp4 -o out.mp4"
    both = build_animate_command(NAMES | {"motion": "d.mp4"}, AnimationConfig())
    assert both == "joyvasa animate me.jpg talk.wav --motion d.mp4 -o out.mp4"


@pytest.mark.parametrize(
    "settings",
    [
        ["models=random", "mode=animal", "seed=7", "device=cpu", "precision=bf16"],
        ["sampling.cfg_scale=1.5", "driving.region=lip", "smoothing.method=none", "crop.scale=2", "paste_back=false"],
        ["sampling.dynamic_threshold=[0.9, 1.0, 3.0]", "smoothing.method=kalman", "picture.max_side=640"],
        ["driving.lip_indices=[1, 2]", "models='2024'"],
    ],
)
def test_the_options_of_the_command_are_those_of_the_page(settings):
    config = load_config(AnimationConfig, settings=settings)
    words = shlex.split(build_animate_command(NAMES, config))[6:]
    printed = []
    for option, value in zip(words[::2], words[1::2], strict=True):
        name = option.removeprefix("--")
        printed.append(value if name == "set" else f"{name}={value if name == 'seed' else repr(value)}")
    assert load_config(AnimationConfig, settings=printed) == config


def test_file_names_are_quoted():
    words = shlex.split(build_animate_command({"portrait": "-my $(face).jpg", "sound": "a'b.wav"}, AnimationConfig()))
    assert words[2:4] == ["./-my $(face).jpg", "a'b.wav"]
