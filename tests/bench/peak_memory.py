"""Measure memory and time of one video by the number of frames per call: `python -m tests.bench.peak_memory`.

Networks have the published sizes and seeded weights. Each video is made by a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from manifests.scratch import scratch_folder
from pipelines.bench.inputs import make_records, write_seeded_bundle

FEW_STEPS = ("sampling.sampler=ddim", "sampling.steps=5")  # rendering is what is measured
_WORKER = """
import json, resource, sys, time
from joyvasa.animator import Animator
from joyvasa.config import load_config
from joyvasa.options import AnimationConfig

animator = Animator(load_config(AnimationConfig, settings=json.loads(sys.argv[4])))
started, before = time.perf_counter(), time.process_time()
animation = animator.animate(*sys.argv[1:4])
elapsed, processor = time.perf_counter() - started, time.process_time() - before
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps([animator.models.batch_frames, peak, elapsed, processor, animation.n_frames]))
"""


@dataclass(frozen=True)
class MemoryFigure:
    """Figures of one video.

    Attributes:
        batch_frames: frames per call.
        peak_bytes: largest resident memory of the process.
        elapsed_s, processor_s: time from two files to the finished video, including loading the networks.
        n_frames: number of frames.
    """

    batch_frames: int
    peak_bytes: int
    elapsed_s: float
    processor_s: float
    n_frames: int


def measure_memory(models: str | Path, image: Path, audio: Path, *settings: str) -> MemoryFigure:
    """Make a video in a new process.

    Args:
        models: model bundle, a name or a folder.
        image, audio: inputs of the video.
        settings: further options of `animate`.
    """
    options = json.dumps([f"models={json.dumps(str(models))}", "device=cpu", *settings])
    with scratch_folder() as folder:
        command = [sys.executable, "-c", _WORKER, str(image), str(audio), str(folder / "video.mp4"), options]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return MemoryFigure(*json.loads(printed))


def main() -> None:
    """Measure the default and 8 frames per call, and print a table."""
    parser = argparse.ArgumentParser(description="Measure memory and time of one video by frames per call.")
    parser.add_argument("--frames", type=int, default=16)
    options = parser.parse_args()
    print("| frames per call | peak memory | time | processor time |\n|---|---|---|---|")
    with scratch_folder() as folder:
        write_seeded_bundle(folder / "models")
        record = make_records(folder / "media", 1, options.frames / 25)[0]
        image, audio = Path(record.image or ""), Path(record.audio or "")
        for settings in ((), ("batch_frames=8",)):
            figure = measure_memory(folder / "models", image, audio, *FEW_STEPS, *settings)
            times = f"{figure.elapsed_s:.0f} s | {figure.processor_s:.0f} s"
            print(f"| {figure.batch_frames} | {figure.peak_bytes / 2**30:.1f} GiB | {times} |", flush=True)


if __name__ == "__main__":
    main()
