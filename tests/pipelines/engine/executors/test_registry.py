"""A new executor needs one file and one line in the registry."""

import pytest

from joyvasa.config import load_config
from joyvasa.errors import ConfigError
from pipelines.engine.executors import EXECUTORS, find_executor
from pipelines.engine.executors.local import LocalExecutor
from pipelines.runs.config import RunConfig
from pipelines.runs.generate import generate_videos
from pipelines.runs.resources import count_run_gpus
from tests.media import EXAMPLES, write_tone
from tests.pipelines.runs.small_runs import make_config, read_rows, write_manifest

SUBMITTED = []


class LoggingExecutor(LocalExecutor):
    """Run stages in this process and log the size of every batch."""

    def submit(self, worker, ticket, entries):
        SUBMITTED.append(len(entries))
        super().submit(worker, ticket, entries)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setitem(EXECUTORS, "logging", f"{__name__}:LoggingExecutor")


@pytest.mark.usefixtures("registered")
def test_a_registered_executor_runs_a_pipeline(tmp_path):
    image, audio = EXAMPLES / "portrait.jpg", write_tone(tmp_path / "tone.wav", seconds=0.4)
    manifest = write_manifest(tmp_path / "pairs.csv", [{"record_id": "a", "image": image, "audio": audio}])
    config = make_config("executor=logging")
    assert count_run_gpus(config) == 0
    assert generate_videos(manifest, tmp_path / "run", config).all_ok
    assert read_rows(tmp_path / "run")["a"]["status"] == "ok"
    assert len(SUBMITTED) >= 5  # one batch for each stage


@pytest.mark.usefixtures("registered")
def test_an_unknown_executor_is_refused_with_the_registered_names():
    for refuse in (find_executor, lambda name: load_config(RunConfig, settings=[f"executor={name}"])):
        with pytest.raises(ConfigError, match="expected local or ray or logging"):
            refuse("slurm")
