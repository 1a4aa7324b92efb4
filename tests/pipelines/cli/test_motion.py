import numpy as np
import pytest
from typer.testing import CliRunner

from joyvasa.errors import InputError
from joyvasa.motion.file import load_motion
from pipelines.cli.motion import app
from tests.motions import neutral_arrays


def test_a_file_is_converted_and_described(tmp_path):
    np.savez(tmp_path / "wave.npz", **neutral_arrays(50))
    result = CliRunner().invoke(app, ["convert", str(tmp_path / "wave.npz"), str(tmp_path / "wave.safetensors")])
    assert result.exit_code == 0
    assert "50 frames, 2.00 s at 25/s, 21 keypoints" in result.stdout
    assert len(load_motion(tmp_path / "wave.safetensors").motion) == 50


def test_an_invalid_file_is_an_error(tmp_path):
    (tmp_path / "no.npz").write_text("no motion")
    result = CliRunner().invoke(app, ["convert", str(tmp_path / "no.npz"), str(tmp_path / "out")])
    assert isinstance(result.exception, InputError)
    with pytest.raises(InputError, match="motion_unreadable"):
        raise result.exception
