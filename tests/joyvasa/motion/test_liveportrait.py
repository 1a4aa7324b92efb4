import pickle

import numpy as np
import pytest

from joyvasa.errors import InputError
from joyvasa.motion import file as motion_file
from joyvasa.motion.file import convert_motion, is_motion_file, load_motion, save_motion
from tests.motions import random_motion


def template(n_frames=4, **change):
    """Return a motion template in the layout of LivePortrait's code."""
    generator = np.random.default_rng(0)
    frames = [
        {
            "scale": generator.random((1, 1), np.float32),
            "R": np.eye(3, dtype=np.float32)[None],
            "exp": generator.random((1, 21, 3), np.float32),
            "t": generator.random((1, 3), np.float32),
            "kp": generator.random((1, 21, 3), np.float32),
            "x_s": generator.random((1, 21, 3), np.float32),
        }
        for _ in range(n_frames)
    ]
    ratios = [np.zeros((1, 2), np.float32)] * n_frames
    return {"n_frames": n_frames, "output_fps": 30, "motion": frames, "c_eyes_lst": ratios} | change


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_template_is_read(tmp_path, protocol):
    content = template()
    (tmp_path / "d.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    assert is_motion_file(tmp_path / "d.pkl")
    motion = load_motion(tmp_path / "d.pkl").motion
    assert motion.frames_per_second == 30
    np.testing.assert_array_equal(motion.expression, np.concatenate([frame["exp"] for frame in content["motion"]]))
    np.testing.assert_array_equal(motion.translation, np.concatenate([frame["t"] for frame in content["motion"]]))
    assert motion.yaw.abs().max() == 0


@pytest.mark.parametrize("suffix", [".npz", ".pkl"])
def test_motion_survives_the_way_to_liveportrait_and_back(tmp_path, suffix):
    motion = random_motion(5, rate=30.0)
    save_motion(tmp_path / "m.safetensors", motion, {"seed": "3"})
    convert_motion(tmp_path / "m.safetensors", tmp_path / f"m{suffix}")
    convert_motion(tmp_path / f"m{suffix}", tmp_path / "back.safetensors")
    back = load_motion(tmp_path / "back.safetensors")
    assert back.provenance == {"source": f"m{suffix}"}
    assert back.motion.frames_per_second == 30
    assert back.motion.expression.equal(motion.expression)
    np.testing.assert_allclose(back.motion.rotation, motion.rotation, atol=1e-6)


def test_a_written_template_has_the_layout_that_liveportrait_reads(tmp_path):
    save_motion(tmp_path / "m.safetensors", random_motion(5))
    convert_motion(tmp_path / "m.safetensors", tmp_path / "m.pkl")
    written = pickle.loads((tmp_path / "m.pkl").read_bytes())
    reference = template()
    assert written["n_frames"] == len(written["motion"]) == len(written["c_eyes_lst"]) == len(written["c_lip_lst"]) == 5
    for name in ("scale", "R", "exp", "t"):
        assert written["motion"][0][name].shape == reference["motion"][0][name].shape


class RunsCode:
    def __reduce__(self):
        return exec, ("raise SystemExit('code of the file was run')",)


SHARED = np.zeros((1, 21 * 100, 3), np.float32)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (template(c_eyes_lst=RunsCode()), "motion_unreadable"),
        (template(motion=[{"exp": RunsCode()}]), "motion_unreadable"),
        (template(motion=[]), "motion_unreadable"),
        (template(motion=3), "motion_unreadable"),
        ([1, 2], "motion_unreadable"),
        (template(motion=[{"exp": np.zeros((1, 21, 3))}]), "motion_incomplete"),
        (template(output_fps=0), "motion_shape"),
        (template(motion=[{**template()["motion"][0], "exp": SHARED}] * 5), "motion_too_large"),
    ],
)
def test_bad_templates_are_refused_with_one_sentence(tmp_path, monkeypatch, content, code):
    monkeypatch.setattr(motion_file, "MAX_BYTES", 100_000)
    (tmp_path / "d.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=code):
        load_motion(tmp_path / "d.pkl")
