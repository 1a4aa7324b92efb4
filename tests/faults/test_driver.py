"""The driver is killed at random moments; a resumed run has the same results."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from manifests.run.folder import RunFolder
from manifests.storage import open_storage
from pipelines.runs.generate import generate_videos
from pipelines.runs.resume import resume_run
from tests.pipelines.runs.small_runs import make_config, read_motions, read_rows, write_example_pairs

pytestmark = pytest.mark.slow

KILLS = 5
LIMIT_S = 240.0  # for one attempt

DRIVE = """
import sys
from pathlib import Path
from pipelines.runs.generate import generate_videos
from pipelines.runs.resume import resume_run
from tests.pipelines.runs.small_runs import make_config
run, manifest, *settings = sys.argv[1:]
if Path(run, "run.yaml").exists():
    resume_run(run)
else:
    generate_videos(manifest, run, make_config(*settings))
"""


def count_files(run: Path) -> int:
    """Return the number of files of the run, which grows during the run."""
    return sum(1 for path in run.rglob("*") if path.is_file())


@pytest.mark.parametrize("determinism", ["fast", "strict"])
def test_a_driver_killed_at_five_random_moments_loses_nothing(tmp_path, determinism):
    settings = ["executor=ray", "save_motion=true", f"determinism={determinism}", "stages.render.batch_size=1"]
    settings += ["animation.picture.max_side=256"]  # the smallest at which all faces of the examples are found
    manifest = write_example_pairs(tmp_path, n_rows=8, side=256, seconds=0.6)
    reference, run = tmp_path / "reference", tmp_path / "run"
    assert generate_videos(manifest, reference, make_config(*settings)).all_ok
    generator = random.Random(7)
    finished: dict[Path, int] = {}
    for _ in range(KILLS):
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVE, run, manifest, *settings],
            cwd=Path(__file__).parents[2],
            start_new_session=True,
            stderr=subprocess.DEVNULL,
        )
        files, expected, started = count_files(run), generator.randint(1, 4), time.monotonic()
        while driver.poll() is None and count_files(run) < files + expected and time.monotonic() - started < LIMIT_S:
            time.sleep(0.05)
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
        done = RunFolder(open_storage(run)).read_done_markers() if run.exists() else {}
        assert all(path.stat().st_mtime_ns == changed for path, changed in finished.items())
        folders = [run / f"shards/{number:05d}" for number in done]
        finished = {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*") if path.is_file()}
    assert resume_run(run).all_ok
    assert all(path.stat().st_mtime_ns == changed for path, changed in finished.items())
    before, after = read_rows(reference), read_rows(run)
    changing = {name for name in next(iter(before.values())) if name.startswith("seconds_")} | {"attempts"}
    if determinism == "fast":
        changing.add("sha256")
        expected = read_motions(reference)
        for name, motion in read_motions(run).items():
            assert np.abs(motion - expected[name]).max() <= 1e-4
    for name, row in before.items():
        assert {key: value for key, value in row.items() if key not in changing} == {
            key: value for key, value in after[name].items() if key not in changing
        }
    assert not list(run.rglob(".partial-*"))
