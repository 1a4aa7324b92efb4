from dataclasses import dataclass, field
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


def test_later_sources_win(tmp_path):
    file = tmp_path / "options.yaml"
    file.write_text("seed: 5\ncrop: {scale: 2.0}\n")
    assert load_config(Options) == Options()
    assert load_config(Options, file=file) == Options(seed=5, crop=Crop(scale=2.0))
    assert load_config(Options, file=file, settings=["seed=7", "crop.corners=[1, 2]"]) == Options(
        seed=7, crop=Crop(scale=2.0, corners=(1, 2))
    )


def test_what_is_dumped_is_read_back(tmp_path):
    config = Options(seed=3, precision="bf16", crop=Crop(scale=1.5, corners=(4, 5)))
    (tmp_path / "options.yaml").write_text(dump_config(config))
    assert load_config(Options, file=tmp_path / "options.yaml") == config


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("crop.scal=2", "no option crop.scal; did you mean crop.scale?"),
        ("zzz=2", "expected one of seed, precision, crop"),
        ("seed", "no '='"),
        ("seed=many", "seed is 'many'"),
        ("precision=int8", "precision is 'int8'"),
        ("crop.scale=-1", "crop.scale is -1"),
        ("crop=5", "crop is 5"),
        ("crop.scale=.nan", "crop.scale is nan; expected a finite number"),
        ("seed={", "not valid YAML"),
    ],
)
def test_a_bad_setting_is_named_in_one_sentence(setting, words):
    with pytest.raises(ConfigError) as caught:
        load_config(Options, settings=[setting])
    assert words in caught.value.sentence
    assert "\n" not in caught.value.sentence


@pytest.mark.parametrize("content", [b"- a list", b"seed: [", b"\xff\xfe\x00", b"seed: !!python/object:os.system x"])
def test_a_bad_file_is_named_and_runs_nothing(tmp_path, content):
    file = tmp_path / "options.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"options\.yaml"):
        load_config(Options, file=file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"config_unreadable.*none\.yaml"):
        load_config(Options, file=tmp_path / "none.yaml")
