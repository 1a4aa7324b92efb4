"""The recipe of joyvasa/motion/README.md adds a motion model with a module, a line and a bundle."""

import re
import shutil
import sys
import wave
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from typer import Typer
from typer.testing import CliRunner

from joyvasa.animator import Animator
from joyvasa.bundles import open_bundle
from joyvasa.config import load_config
from joyvasa.media.audio import load_audio
from joyvasa.motion.file import load_motion
from joyvasa.motion.model import MotionModel
from joyvasa.networks import NETWORKS, NetworkEntry
from joyvasa.options import AnimationConfig
from pipelines.cli.manifest import plan_command
from pipelines.runs.generate import generate_videos
from tests.media import DATA, read_frames
from tests.pipelines.runs.small_runs import make_config, read_rows, write_manifest

ROOT = Path(__file__).parents[3]
RATE = 20  # frames per second
SCALE, PITCH = 63, 67  # indices of the scale and of the pitch among the coefficients


@pytest.fixture(scope="module")
def blocks() -> list[str]:
    """Return the network, the line of the registry and the role of the bundle from the recipe."""
    text = (ROOT / "joyvasa/motion/README.md").read_text()
    return [dedent(block) for block in re.findall(r"^ +```\w+\n(.*?)^ +```", text, re.DOTALL | re.MULTILINE)]


@pytest.fixture
def bundle(blocks, tmp_path, monkeypatch) -> Path:
    """Return the built-in bundle with the motion model of the recipe, which nods in proportion to the loudness."""
    network, line, role = blocks
    entries = eval(f"{{{line}}}", {"NetworkEntry": NetworkEntry})
    monkeypatch.setitem(NETWORKS, "nodding", entries["nodding"])
    module = ModuleType(entries["nodding"].module)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(network, module.__dict__)
    folder = tmp_path / "nodding"
    shutil.copytree(open_bundle("sample").folder, folder)
    save_file({"depth": torch.full((1,), 2.0)}, folder / "nodding.safetensors")
    content = yaml.safe_load((folder / "bundle.yaml").read_text())
    content["name"] = "nodding"
    content["roles"] |= yaml.safe_load(role)
    (folder / "bundle.yaml").write_text(yaml.safe_dump(content))
    return folder


def write_swelling_tone(path: Path, seconds: float) -> Path:
    """Write a tone that swells and fades twice per second."""
    time = np.arange(round(seconds * 16_000)) / 16_000
    samples = 0.4 * np.sin(2 * np.pi * 200 * time) * np.sin(2 * np.pi * time) ** 2
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((samples * 32_767).astype("<i2").tobytes())
    return path


def compute_expected_pitch(bundle: Path, sound: Path) -> torch.Tensor:
    """Compute the pitch of each frame in degrees from the loudness of the recording and the template of the bundle."""
    samples = load_audio(sound)
    n_frames = -(-len(samples) * RATE // 16_000)
    frames = np.pad(samples, (0, n_frames * 800 - len(samples))).reshape(n_frames, 800)
    template = open_bundle(bundle).load_template()
    minimum, maximum = (bounds[PITCH - SCALE] for bounds in (template.pose_min, template.pose_max))
    loudness = torch.from_numpy(np.sqrt((frames**2).mean(axis=1)))
    return (2 * loudness.double() * (maximum - minimum) + minimum).float()[:, None]


def test_an_animator_plays_the_motion_of_another_model(bundle, tmp_path):
    sound = write_swelling_tone(tmp_path / "sound.wav", 1.23)
    settings = [f"models={bundle}", "device=cpu", "picture.max_side=192", "smoothing.method=none"]
    animator = Animator(load_config(AnimationConfig, settings=settings))
    assert isinstance(animator.models.motion_model, MotionModel)
    animation = animator.animate(DATA / "portrait.jpg", sound, tmp_path / "out.mp4")
    torch.testing.assert_close(animation.motion.pitch, compute_expected_pitch(bundle, sound), rtol=0, atol=1e-4)
    assert (animation.n_frames, animation.frames_per_second) == (25, RATE)  # two windows
    frames = read_frames(tmp_path / "out.mp4").astype(int)
    assert len(frames) == 25
    moved = np.abs(frames - frames[0]).mean(axis=(1, 2, 3))
    assert moved[5] > 2 * moved[10]  # loudest and silent frame


@pytest.mark.slow
def test_a_run_plays_and_saves_the_motion_of_another_model(bundle, tmp_path):
    sounds = [write_swelling_tone(tmp_path / f"{number}.wav", seconds) for number, seconds in enumerate((0.5, 1.9))]
    rows = [{"record_id": path.stem, "image": DATA / "portrait.jpg", "audio": path} for path in sounds]
    settings = [f"animation.models={bundle}", "animation.smoothing.method=none", "save_motion=true"]
    run = tmp_path / "run"
    assert generate_videos(write_manifest(tmp_path / "pairs.csv", rows), run, make_config(*settings)).all_ok
    outcomes = read_rows(run)
    for sound in sounds:
        row = outcomes[sound.stem]
        saved = load_motion(run / row["motion_file"]).motion
        torch.testing.assert_close(saved.pitch, compute_expected_pitch(bundle, sound), rtol=0, atol=1e-4)
        assert saved.frames_per_second == RATE
        assert row["bundle"].startswith("nodding ")
        assert len(read_frames(run / row["video"])) == row["frames"] == len(saved)


def test_a_plan_counts_with_the_sizes_of_another_model(bundle, tmp_path):
    rows = [{"image": DATA / "portrait.jpg", "audio": write_swelling_tone(tmp_path / "sound.wav", 1.9)}]
    manifest = write_manifest(tmp_path / "pairs.csv", rows)
    app = Typer()
    app.command("plan")(plan_command)
    printed = CliRunner().invoke(app, [str(manifest), "--models", str(bundle)]).stdout
    assert re.search(r"video frames \(20/s\) +38\n", printed)
    assert re.search(r"windows \(16 frames\) +3\n", printed)
