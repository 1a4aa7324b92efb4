"""`joyvasa web` checks its requirements before it loads models."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from joyvasa.errors import ConfigError, EnvironmentFault
from pipelines.cli import web

LIMIT_S = 300.0


def test_a_missing_gradio_is_an_error_with_the_install_command(monkeypatch):
    monkeypatch.setattr(web, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match=r"`make extras` in a checkout, or `pip install 'joyvasa\[web\]'`"):
        web.web_command()


def test_a_public_address_requires_a_password(monkeypatch):
    monkeypatch.delenv("JOYVASA_WEB_PASSWORD", raising=False)
    monkeypatch.setattr(web, "find_spec", lambda name: object())
    with pytest.raises(ConfigError, match="JOYVASA_WEB_PASSWORD"):
        web.web_command(models="random", host="0.0.0.0")


def test_a_missing_folder_is_reported_before_the_server_is_imported(monkeypatch, tmp_path):
    monkeypatch.setattr(web, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "pipelines.web.server", None)  # importing it fails
    with pytest.raises(ConfigError, match=r"root_invalid: .*no such folder"):
        web.web_command(tmp_path / "nope")


@pytest.mark.slow
def test_a_terminated_server_leaves_no_files(tmp_path):
    pytest.importorskip("gradio", reason="gradio is not installed: install the extra web")
    (tmp_path / "temporary").mkdir()
    program = "from pipelines.cli.main import main; main()"
    arguments = ["web", str(tmp_path), "--models", "random", "--port", "0", "--device", "cpu"]
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary"), "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments], env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        scratch = [path for path in (tmp_path / "temporary").iterdir() if path.name.startswith("joyvasa-scratch-")]
        assert len(scratch) == 1
        process.send_signal(signal.SIGTERM)
        process.wait(LIMIT_S)
    assert not scratch[0].exists()
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"]
