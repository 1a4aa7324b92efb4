"""Compare the speed and the frames of this checkout with those of another one, in turns.

`python -m tests.bench.before_after OTHER` prints a table; OTHER is a checkout of another commit, for example made by
`git worktree add OTHER COMMIT`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from joyvasa.media.video_reader import stream_video
from manifests.scratch import scratch_folder
from tests.media import EXAMPLES

ROOT = Path(__file__).parents[2]
# For every line of input, `time` or `compare`, makes a video, and prints its time, its processor time including ffmpeg,
# and the number of frames. Videos to compare are nearly lossless: the encoder neither hides nor adds differences.
_WORKER = """
import json, os, sys, time
from joyvasa.animator import AnimationConfig, Animator
from joyvasa.config import load_config
import torch

torch.set_num_threads(int(sys.argv[1]))
image, audio, output, settings = *sys.argv[2:5], json.loads(sys.argv[5])
configs = {"time": settings, "compare": [*settings, "encoding.crf=1"]}
animators = {name: Animator(load_config(AnimationConfig, settings=config)) for name, config in configs.items()}
for line in sys.stdin:
    before, started = os.times(), time.perf_counter()
    animation = animators[line.strip()].animate(image, audio, output)
    elapsed, after = time.perf_counter() - started, os.times()
    print(json.dumps([elapsed, sum(after[:4]) - sum(before[:4]), animation.n_frames]), flush=True)
"""


@dataclass(frozen=True)
class Side:
    """Figures of one checkout.

    Attributes:
        frames_per_s: median over the rounds, from two files to the finished video, with loaded networks.
        processor_ms: median processor time of a frame, including encoding.
    """

    frames_per_s: float
    processor_ms: float


@dataclass(frozen=True)
class Difference:
    """Difference of the frames of two videos, in pixel values of 0 to 255.

    Attributes:
        largest: largest difference of a value.
        psnr_db: peak signal-to-noise ratio over all frames; infinite if they are identical.
    """

    largest: int
    psnr_db: float


def compare_checkouts(
    other: Path, image: Path, audio: Path, *, threads: int, rounds: int, settings: list[str]
) -> tuple[Side, Side, Difference]:
    """Make the same video with another checkout and this one, in turns.

    Args:
        other: root of the other checkout.
        image, audio: inputs of the video.
        threads: number of PyTorch threads.
        rounds: number of videos of each side, in addition to a first one that is not counted.
        settings: options of `animate`, as `key=value`.

    Returns:
        Figures of the other checkout and of this one, and the difference of their frames.
    """
    with scratch_folder() as folder:
        outputs = [folder / "other.mp4", folder / "this.mp4"]
        arguments = [str(threads), str(image), str(audio)]
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", _WORKER, *arguments, str(output), json.dumps(settings)],
                cwd=root,
                env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": str(threads)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for root, output in zip((other, ROOT), outputs, strict=True)
        ]
        try:
            results = [[_make_video(worker, "time") for worker in workers] for _ in range(1 + rounds)][1:]
            for worker in workers:
                _make_video(worker, "compare")
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
        sides = [
            Side(
                statistics.median(n / elapsed for elapsed, _, n in column),
                statistics.median(1000 * processor / n for _, processor, n in column),
            )
            for column in zip(*results, strict=True)
        ]
        return *sides, _compare_videos(*outputs)  # type: ignore[return-value]


def _make_video(worker: subprocess.Popen[str], purpose: Literal["time", "compare"]) -> tuple[float, float, int]:
    assert worker.stdin
    assert worker.stdout
    worker.stdin.write(f"{purpose}\n")
    worker.stdin.flush()
    elapsed, processor, n_frames = json.loads(worker.stdout.readline())
    return elapsed, processor, n_frames


def _compare_videos(first: Path, second: Path) -> Difference:
    largest, squares, n = 0, 0.0, 0
    for a, b in zip(stream_video(first), stream_video(second), strict=True):
        difference = np.abs(a.astype(np.int16) - b)
        largest = max(largest, int(difference.max()))
        squares, n = squares + float(np.square(difference, dtype=np.float64).sum()), n + difference.size
    return Difference(largest, 10 * np.log10(255**2 * n / squares) if squares else float("inf"))


def main() -> None:
    """Compare with the options of the command line and print a table."""
    parser = argparse.ArgumentParser(description="Compare the speed and the frames of two checkouts, in turns.")
    parser.add_argument("other", type=Path, help="another checkout of this repository")
    parser.add_argument("--image", type=Path, default=EXAMPLES / "officer.jpg")
    parser.add_argument("--audio", type=Path, default=EXAMPLES / "speech.flac")
    parser.add_argument("--threads", type=int, default=2, help="PyTorch threads of each side")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one option of animate")
    options = parser.parse_args()

    other, this, difference = compare_checkouts(
        options.other.resolve(),
        options.image.resolve(),
        options.audio.resolve(),
        threads=options.threads,
        rounds=options.rounds,
        settings=options.set,
    )
    print("| checkout | frames/s | processor ms per frame |\n|---|---|---|")
    for name, side in (("other", other), ("this", this)):
        print(f"| {name} | {side.frames_per_s:.1f} | {side.processor_ms:.1f} |")
    ratio, processor = this.frames_per_s / other.frames_per_s, other.processor_ms / this.processor_ms
    print(f"| ratio | {ratio:.2f} | {processor:.2f} |")
    print(f"largest difference of a pixel {difference.largest} of 255, PSNR {difference.psnr_db:.1f} dB")


if __name__ == "__main__":
    main()
