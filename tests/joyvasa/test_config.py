from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from joyvasa.config import dump_config, load_config
from joyvasa.errors import ConfigError


@dataclass(frozen=True)
class Crop:
    scale: float = 2.3
    corners: tuple[int, ...] | None = None

    def __post_init__(self):
        if self.scale <= 0:
            raise ConfigError("config_invalid", f"crop.scale is {self.scale}; expected more than 0")


@dataclass(frozen=True)
class Options:
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    crop: Crop = field(default_factory=Crop)
    save: bool = False
    name: str = ""
    shares: tuple[float, float] = (0.1, 0.2)
    metrics: Literal["all", "none"] | tuple[str, ...] = "all"


def test_later_sources_override_earlier_ones(tmp_path):
    file = tmp_path / "options.yaml"
    file.write_text("seed: 5\ncrop: {scale: 2.0}\n")
    assert load_config(Options) == Options()
    assert load_config(Options, file=file) == Options(seed=5, crop=Crop(scale=2.0))
    assert load_config(Options, file=file, settings=["seed=7", "crop.corners=[1, 2]"]) == Options(
        seed=7, crop=Crop(scale=2.0, corners=(1, 2))
    )


def test_a_dumped_configuration_can_be_loaded(tmp_path):
    config = Options(seed=3, precision="bf16", crop=Crop(scale=1.5, corners=(4, 5)))
    (tmp_path / "options.yaml").write_text(dump_config(config))
    assert load_config(Options, file=tmp_path / "options.yaml") == config


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("crop.scal=2", "no option crop.scal; did you mean crop.scale?"),
        ("zzz=2", "expected one of seed, precision, crop, save"),
        ("seed", "no '='"),
        ("seed=many", "seed is 'many'; expected a whole number"),
        ("precision=int8", "precision is 'int8'; expected fp32 or bf16"),
        ("crop.scale=-1", "crop.scale is -1"),
        ("crop=5", "crop is 5; expected a mapping"),
        ("seed=2.5", "seed is 2.5; expected a whole number"),
        ("seed=", "seed is null; expected a whole number"),
        ("crop.scale=wide", "crop.scale is 'wide'; expected a number"),
        ("crop.scale=[1]", "crop.scale is [1]; expected a number"),
        ("crop.corners=4", "crop.corners is 4; expected a list"),
        ("crop.corners=[1, x]", "crop.corners.1 is 'x'; expected a whole number"),
        ("save=perhaps", "save is 'perhaps'; expected true or false"),
        ("name=5", "name is 5; expected text"),
        ("name=true", "name is true; expected text"),
        ("shares=[1]", "shares.1 is missing"),
        ("shares=[1, 2, 3]", "shares is [1, 2, 3]; expected at most 2 items"),
        ("metrics=nothing", "metrics is 'nothing'; expected all or none, or a list"),
        ("metrics=5", "metrics is 5; expected all or none, or a list"),
        ("metrics={a: 1}", "metrics is {'a': 1}; expected all or none, or a list"),
        ("metrics=[sync, 5]", "metrics.1 is 5; expected text"),
        (f"seed={'x' * 200}", "xxx…; expected a whole number"),
        ("crop.scale=.nan", "crop.scale is nan; expected a finite number"),
        ("crop.scale=1e400", "crop.scale is 1e400; expected a finite number"),
        ("crop.scale=true", "crop.scale is true; expected a number"),
        ("seed=true", "seed is true; expected a number"),
        ("seed=99999999999999999999", "seed is 99999999999999999999; expected a whole number below 2^63"),
        ("name=2026-01-01", 'name is "2026-01-01"; expected text'),
        ("seed={", "not valid YAML"),
        ("seed=2001-99-99", "not valid YAML"),
        ("seed=!!timestamp x", "not valid YAML"),
        ("crop=&a {scale: *a}", "aliases are not allowed"),
        (f"seed={'[' * 5000}", "[[…: not valid YAML"),
        (f"seed={'9' * 5000}", "99…: not valid YAML"),
    ],
)
def test_a_bad_setting_is_named_in_one_sentence(setting, words):
    with pytest.raises(ConfigError) as caught:
        load_config(Options, settings=[setting])
    assert words in caught.value.sentence
    assert "\n" not in caught.value.sentence
    assert len(caught.value.sentence) < 600


def test_a_bad_group_of_options_is_named_although_a_later_setting_is_good():
    with pytest.raises(ConfigError, match="crop is null; expected a mapping"):
        load_config(Options, settings=["crop=null", "crop.scale=1"])


@pytest.mark.parametrize(
    "content",
    [
        b"- a list",
        b"seed: [",
        b"seed: 1\nseed: 2",
        b"seed: 2001-99-99",
        b"\xff\xfe\x00",
        b"seed: !!python/object:os.system x",
    ],
)
def test_a_bad_file_is_named_and_executes_nothing(tmp_path, content):
    file = tmp_path / "options.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"options\.yaml"):
        load_config(Options, file=file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"config_unreadable.*none\.yaml"):
        load_config(Options, file=tmp_path / "none.yaml")


def test_a_device_is_no_file_of_options():
    with pytest.raises(ConfigError, match=r"config_unreadable: /dev/zero: cannot be read \(has more than 4 MiB\)"):
        load_config(Options, file=Path("/dev/zero"))
