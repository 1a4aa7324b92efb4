"""Actors of the real stages are killed repeatedly: every record is ok and no temporary file remains."""

import contextlib
import csv
import hashlib
import os
import re
import signal
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import cv2
import pytest

from joyvasa.runtime.files import PARTIAL
from joyvasa.runtime.result_tables import find_finished_tables, read_table
from pipelines.runs.generate import generate_videos
from tests.media import EXAMPLES, ffmpeg, read_frames
from tests.pipelines.runs.small_runs import make_config

pytestmark = pytest.mark.slow

RECORDS = 100
ACTOR = re.compile(r"ray::(?P<stage>portrait|speech|motion|render)\b(\.(?P<call>\w+))?")  # title of its process
EVERY_S = 3.0
MIN_ACTORS = 3  # minimum number of running actors, of the seven of a run
PORTRAITS = ("portrait.jpg", "portrait_2.jpg", "officer.jpg")
RECORDINGS = ("speech.flac", "speech_2.flac")


def actors() -> dict[int, str]:
    """Return the descendants of this process that run stages and have loaded their models, with the stage of each."""
    parents: dict[int, int] = {}
    workers: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            title = (folder / "cmdline").read_bytes().decode()
            if (match := ACTOR.match(title)) and match["call"] not in {"__init__", "confirm_place", "setup"}:
                workers[int(folder.name)] = match["stage"]
        except OSError:  # the process has ended
            continue
    own = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in own} - own:
        own |= more
    return {pid: stage for pid, stage in workers.items() if pid in own}


class Killer(threading.Thread):
    """Kills one actor at a time, of the stage that was hit least so far; waits if too few are running."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.stop, self.kills = threading.Event(), Counter[str]()

    def run(self) -> None:
        while not self.stop.wait(EVERY_S):
            if len(running := actors()) > MIN_ACTORS:
                pid, stage = min(running.items(), key=lambda actor: self.kills[actor[1]])
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.kills[stage] += 1


@pytest.fixture
def manifest(tmp_path) -> Path:
    """A manifest with small pictures and parts of the bundled recordings."""
    for name in PORTRAITS:
        cv2.imwrite(str(tmp_path / name), cv2.resize(cv2.imread(str(EXAMPLES / name)), (192, 192)))
    for name in RECORDINGS:
        for second in range(3):
            ffmpeg("-ss", second, "-t", 0.6, "-i", EXAMPLES / name, tmp_path / f"{second}-{name}")
    sounds = [f"{second}-{name}" for second in range(3) for name in RECORDINGS]
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("record_id", "image", "audio"))
        writer.writerows((f"r{n}", PORTRAITS[n % 3], sounds[n % 6]) for n in range(RECORDS))
    return tmp_path / "pairs.csv"


def test_a_hundred_videos_are_generated_while_an_actor_is_killed_every_three_seconds(manifest, tmp_path, monkeypatch):
    run, temporary = tmp_path / "run", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")  # sockets need a short path
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    settings = (
        "executor=ray",
        "animation.picture.max_side=256",
        "animation.encoding.preset=ultrafast",
        "shard_size=64",
    )
    killer, start = Killer(), time.monotonic()
    killer.start()
    try:
        result = generate_videos(manifest, run, make_config(*settings))
    finally:
        killer.stop.set()
        killer.join()
    crashes = {name: stage["worker_crashes"] for name, stage in result.statistics["stages"].items()}
    print(f"{RECORDS} records, kills {dict(killer.kills)}, crashes {crashes}, {time.monotonic() - start:.0f} s")
    assert result.counts.statuses == {"ok": RECORDS}
    assert killer.kills.total() >= 10
    assert min(crashes[stage] for stage in ("portrait", "speech", "motion", "render")) >= 1
    rows = read_table(find_finished_tables(run)).to_pylist()
    assert sorted(row["record_id"] for row in rows) == sorted(f"r{n}" for n in range(RECORDS))
    for row in rows:
        assert row["frames"] == len(read_frames(run / row["video"])) == 15
        assert hashlib.sha256((run / row["video"]).read_bytes()).hexdigest() == row["sha256"]
    shards = {f"shards/{row['shard']:05d}" for row in rows}
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert files == {
        *(row["video"] for row in rows),
        *(f"{shard}/{name}" for shard in shards for name in ("records.parquet", "_done.json")),
        *("run.yaml", "manifest.parquet", "events.jsonl", ".lock"),
    }
    assert not [path for path in run.rglob("*") if path.name.startswith(PARTIAL)]
    assert not [path.name for path in temporary.iterdir() if path.name.startswith("joyvasa")]
