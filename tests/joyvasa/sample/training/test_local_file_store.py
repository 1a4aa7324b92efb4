"""Atomic files in a local folder."""

import pytest

from joyvasa.sample.training.local_file_store import LocalFileStore
from joyvasa.training.dataset import Dataset
from joyvasa.training.export import load_trained_generator
from joyvasa.training.trainer import Trainer
from tests.joyvasa.training.small import small_config, small_dataset


def test_a_file_appears_when_it_is_complete(tmp_path):
    files = LocalFileStore(tmp_path / "new")
    assert files.names("") == []
    with files.staging("shards/0.parquet") as staged:
        staged.write_bytes(b"whole")
        assert staged.suffix == ".parquet"
        assert not files.exists("shards/0.parquet")
    assert files.names("shards") == ["0.parquet"]
    assert files.read("shards/0.parquet") == files.open("shards/0.parquet").read() == b"whole"


def test_a_failure_keeps_the_old_file(tmp_path):
    files = LocalFileStore(tmp_path)
    files.write("card", b"before")

    def write_half():
        with files.staging("card") as staged:
            staged.write_bytes(b"half")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        write_half()
    assert files.read("card") == b"before"
    assert files.names("") == ["card"]


def test_removing_a_missing_file_does_nothing(tmp_path):
    files = LocalFileStore(tmp_path)
    files.write("a/b", b"")
    for name in ("a/b", "a", "a"):
        files.remove(name)
    assert files.names("") == []


def test_a_motion_generator_trains_and_resumes_in_a_folder(tmp_path):
    small_dataset(tmp_path / "speech")
    speech, run = LocalFileStore(tmp_path / "speech"), LocalFileStore(tmp_path / "motion")
    config = small_config(steps=3)
    assert Trainer(config, Dataset(speech), run).run().step == 3
    assert load_trained_generator(run).progress.step == 3
    assert Trainer(config, Dataset(speech), run).progress.step == 3
